package caddymesh

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

// expand replaces the placeholders in the value of an option. A placeholder that is unknown or empty is an
// error.
func expand(option, value string) (string, error) {
	text, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w; set the environment variable or write the file that it names, or give the value itself", option, err)
	}
	return text, nil
}
