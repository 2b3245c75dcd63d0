package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/claudemesh/claudemesh/visible"
)

// watchEvery is the pause between two looks of --watch.
const watchEvery = 2 * time.Second

// display holds the flags that say how a command prints rows.
type display struct{ json, watch bool }

const (
	jsonUsage  = " [--json]"
	watchUsage = " [--watch]" + jsonUsage
)

// flags adds the flag of a command that prints rows once.
func (d *display) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&d.json, "json", false, "Print JSON")
}

// watches adds the flags of a command that reads, and so may look again and again.
func (d *display) watches(cmd *cobra.Command) {
	d.flags(cmd)
	cmd.Flags().BoolVarP(&d.watch, "watch", "w", false, "Look again every two seconds, until interrupted")
}

// row is what a command says of one thing: a line of a table, or an object of JSON.
type row = map[string]any

// each does something with every storage and says what it did: in lines, or in a list of rows to
// which it adds the storage.
func (d *display) each(cmd *cobra.Command, from *source, do func(Storage) (line string, told row, err error)) error {
	rows := []row{}
	err := from.each(func(storage Storage) error {
		line, told, err := do(storage)
		if err != nil {
			return err
		}
		told["storage"] = storage.String()
		rows = append(rows, told)
		if d.json {
			return nil
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
		return err
	})
	if d.json && (err == nil || len(rows) > 0) {
		err = errors.Join(err, json.NewEncoder(cmd.OutOrStdout()).Encode(rows))
	}
	return err
}

// repeat shows something once, or with --watch until the command is interrupted. A look that fails
// after the first does not end the watch: the broker may be about to come back.
func (d *display) repeat(cmd *cobra.Command, show func(context.Context, io.Writer) error) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	clear := ""
	if out, ok := cmd.OutOrStdout().(*os.File); ok && d.watch && !d.json && term.IsTerminal(int(out.Fd())) {
		clear = "\x1b[H\x1b[2J"
	}
	for first := true; ; first = false {
		var text strings.Builder
		err := show(ctx, &text)
		switch {
		case err != nil && ctx.Err() != nil && d.watch:
			return nil // the interrupt is why the look failed
		case err != nil && ctx.Err() != nil:
			return errors.New("interrupted")
		case err != nil && (first || !d.watch):
			return err
		}
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s; trying again\n", err)
		} else if _, err := io.WriteString(cmd.OutOrStdout(), clear+text.String()); err != nil || !d.watch {
			return err
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// print writes rows as a table, or as JSON.
func (d *display) print(w io.Writer, rows []row, columns []string) error {
	if d.json {
		return json.NewEncoder(w).Encode(rows)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, column := range columns {
		if i > 0 {
			fmt.Fprint(table, "\t")
		}
		fmt.Fprint(table, heading(column))
	}
	fmt.Fprintln(table)
	for _, row := range rows {
		for i, column := range columns {
			if i > 0 {
				fmt.Fprint(table, "\t")
			}
			fmt.Fprint(table, cell(column, row[column]))
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// printTall writes each field of the rows on a line of its own, or everything as JSON.
func (d *display) printTall(w io.Writer, rows []row, columns []string) error {
	if d.json {
		return json.NewEncoder(w).Encode(rows)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for _, column := range columns {
			fmt.Fprintf(table, "%s\t%s\n", heading(column), cell(column, row[column]))
		}
	}
	return table.Flush()
}

// heading writes the name of a column as people read it. A cell has its unit.
func heading(column string) string {
	return strings.ToUpper(strings.ReplaceAll(strings.TrimSuffix(column, "_seconds"), "_", " "))
}

// cell writes a value as people read it. Names come from others and may hold anything.
func cell(column string, value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.HasSuffix(column, "_seconds") {
			if f == 0 { // nothing waits
				return "-"
			}
			return time.Duration(f * float64(time.Second)).Round(time.Second).String()
		}
		return v.String()
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			return at.Local().Format(time.DateTime)
		}
		if v == "" {
			return "-"
		}
		return visible.Line(v, visible.People)
	}
	return fmt.Sprint(value)
}
