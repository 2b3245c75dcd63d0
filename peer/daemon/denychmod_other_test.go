//go:build !linux

package daemon

import "errors"

func denyChmod() error { return errors.ErrUnsupported }
