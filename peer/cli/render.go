package cli

import (
	"bytes"
	"encoding/json"

	"github.com/claudemesh/claudemesh/visible"
)

// printable makes text that others wrote safe for a terminal; see package visible.
func printable(s string) string { return visible.Text(s, visible.People) }

// oneLine is printable for places where a line break would break the layout.
func oneLine(s string) string { return visible.Line(s, visible.People) }

// Colors, as SGR parameters.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// paint colors s if the output is a terminal that shows colors.
func (a *app) paint(sgr, s string) string {
	if !a.color {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// printJSON prints a value as indented JSON.
func (a *app) printJSON(v any) error { return a.encode(v, "  ") }

// printJSONLine prints a value as JSON on one line, for streams.
func (a *app) printJSONLine(v any) error { return a.encode(v, "") }

// encode prints JSON. It escapes the control characters in text that others wrote, so that
// a terminal doesn't obey them.
func (a *app) encode(v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := a.out.Write(visible.JSON(b.Bytes()))
	return err
}

// notVerified returns "not verified", with the reason if there is one.
func notVerified(doubt string) string {
	if doubt == "" {
		return "not verified"
	}
	return "not verified: " + oneLine(doubt)
}
