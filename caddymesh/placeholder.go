package caddymesh

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// expand replaces the placeholders in the value of an option and removes the space around it, such as a line end. A
// placeholder that is unknown or empty is an error, and so is a blank value: it would be a secret that anybody guesses.
func expand(option, value string) (string, error) {
	text, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w; set the environment variable or write the file that it names, or give the value itself", option, err)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", fmt.Errorf("%s: the value is blank; give one, or remove the option", option)
	}
	return text, nil
}
