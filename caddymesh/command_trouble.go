package caddymesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"github.com/claudemesh/claudemesh/storage"
)

// troubleError is an error of a storage in words for the operator.
type troubleError struct {
	text string
	err  error
}

func (e *troubleError) Error() string { return e.text }
func (e *troubleError) Unwrap() error { return e.err }

// trouble says what could not be done with a storage, why, and what to do next. It returns
// errors of other kinds, and those that say all of that, as they are.
func trouble(of Storage, err error) error {
	var fault *storage.Fault
	var known *troubleError
	if !errors.As(err, &fault) || errors.As(err, &known) {
		return err
	}
	if _, file := of.(*SQLite); !file && errors.As(err, new(*sqlite.Error)) { // of the other storage of a move
		return err
	}
	what, next := ailment(of, fault)
	doing, found := strings.CutSuffix(err.Error(), fault.Error())
	if !found {
		doing = ""
	}
	switch {
	case what == "" && fault.Reason == storage.Failed: // the error of a command, within a transaction
		return err
	case what == "":
		return &troubleError{fmt.Sprintf("%s%s: %s", doing, of, fault), err}
	}
	return &troubleError{fmt.Sprintf("%s%s %s (%s); %s", doing, of, what, causes(fault), next), err}
}

// ailment says what is wrong with a storage, and what to do about it. It returns nothing if the
// error itself says it.
func ailment(of Storage, fault *storage.Fault) (what, next string) {
	_, file := of.(*SQLite)
	choose := func(ofFile, ofServer string) string {
		if file {
			return ofFile
		}
		return ofServer
	}
	switch fault.Reason {
	case storage.Unreachable:
		return choose("can't be opened", "can't be reached"),
			choose("check its path, and who may use its directory", "check whether it runs, and whether this is its address")
	case storage.NoAnswer:
		return choose("is busy", "does not answer in time"),
			choose("try again when the program that uses it has finished", "check its load, and the network to it")
	case storage.ReadOnly:
		return "is read-only", choose("check who may write to the file and to its directory", "name the primary server, if this is a standby")
	case storage.Full:
		return "has no room", "make room on its disk"
	case storage.Refused:
		return choose("can't be used by this user", "refuses this login"),
			choose("run the command as the user of the broker", "check the database's name, the user, the password and the user's rights")
	}
	var server *pgconn.PgError
	isServer := errors.As(fault, &server)
	if file && strings.Contains(fault.Error(), "no such table") || isServer && server.Code == "42P01" {
		return "is not the database of a claudemesh broker", "name that of the broker with --config, or see \"caddy claudemesh storage\""
	}
	if isServer {
		return "reports an error", "its log may say more"
	}
	return "", ""
}

// causes returns where an error comes from, without the words of drivers and of addresses.
func causes(err error) string {
	var all []string
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // the walk visits each wrapped error
		case *pgconn.PgError:
			all = append(all, e.Message)
			return
		case *pgconn.ParseConfigError:
			all = append(all, e.Error()) // what it wraps may quote the password
			return
		case *net.DNSError:
			all = append(all, fmt.Sprintf("no address for the host %q", e.Name))
			return
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				walk(err)
			}
			return
		}
		if inner := errors.Unwrap(err); inner != nil {
			walk(inner)
			return
		}
		text := err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			text = "no answer in time"
		}
		all = append(all, text)
	}
	walk(err)
	return strings.Join(slices.Compact(all), ", ")
}
