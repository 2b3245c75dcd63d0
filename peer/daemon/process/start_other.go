//go:build !linux && !darwin

package process

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
)

// startOf asks ps(1).
func startOf(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(pid)).Output()
	start := strings.TrimSpace(string(out))
	var exit *exec.ExitError
	if errors.As(err, &exit) || err == nil && start == "" {
		return "", ErrGone
	}
	return start, err
}
