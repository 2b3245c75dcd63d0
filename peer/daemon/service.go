package daemon

import (
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	systemdUnit  = "claudemesh-daemon.service"
	launchdLabel = "org.claudemesh.daemon"
)

// errNoServices is returned on systems without a supported service manager.
var errNoServices = errors.New("only systemd (Linux) and launchd (macOS) are supported; the daemon is started by whatever needs it anyway")

// Service runs the daemon as a service of the user that the system starts at login.
type Service struct {
	Executable string            // absolute path of claudemesh
	Env        map[string]string // the environment variables that the service needs
	LogPath    string            // for output before the log is open; launchd only
	home       string
}

// NewService returns the service that runs the executable for this user.
func NewService(executable, logPath string) (Service, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return Service{}, fmt.Errorf("find the home directory: %w", err)
	}
	s := Service{Executable: executable, Env: make(map[string]string), LogPath: logPath, home: home}
	for _, name := range pathVariables {
		if path := os.Getenv(name); path != "" {
			if s.Env[name], err = absolute(name, path); err != nil {
				return Service{}, err
			}
		}
	}
	for _, name := range networkVariables {
		if value := os.Getenv(name); value != "" {
			s.Env[name] = value
		}
	}
	return s, nil
}

// ServiceFile is the definition of a service: its text, its path, and the commands that
// register it, and that unregister it before and after the file is removed.
type ServiceFile struct {
	Path   string
	Text   string
	Start  [][]string
	Stop   [][]string
	Forget [][]string // after the file is gone
}

// File returns the definition for an operating system, "linux" or "darwin".
func (s Service) File(goos string, uid int) (ServiceFile, error) {
	switch goos {
	case "linux":
		config := os.Getenv("XDG_CONFIG_HOME")
		if config == "" {
			config = filepath.Join(s.home, ".config")
		}
		return ServiceFile{
			Path:   filepath.Join(config, "systemd", "user", systemdUnit),
			Text:   s.unit(),
			Start:  [][]string{{"systemctl", "--user", "daemon-reload"}, {"systemctl", "--user", "enable", "--now", systemdUnit}},
			Stop:   [][]string{{"systemctl", "--user", "disable", "--now", systemdUnit}},
			Forget: [][]string{{"systemctl", "--user", "daemon-reload"}},
		}, nil
	case "darwin":
		path := filepath.Join(s.home, "Library", "LaunchAgents", launchdLabel+".plist")
		domain := fmt.Sprintf("gui/%d", uid)
		return ServiceFile{
			Path:  path,
			Text:  s.plist(),
			Start: [][]string{{"launchctl", "bootstrap", domain, path}},
			Stop:  [][]string{{"launchctl", "bootout", domain + "/" + launchdLabel}},
		}, nil
	}
	return ServiceFile{}, errNoServices
}

// unit returns a systemd unit. A daemon that exits normally, because another one runs already
// or a newer one replaces it, stays stopped. A daemon that crashes is restarted.
func (s Service) unit() string {
	var env strings.Builder
	for _, name := range s.envNames() {
		fmt.Fprintf(&env, "Environment=%s\n", quoteUnit(name+"="+s.Env[name]))
	}
	return `[Unit]
Description=claudemesh daemon: connections of this user's sessions to their meshes
Documentation=https://github.com/claudemesh/claudemesh

[Service]
ExecStart=` + quoteUnit(s.Executable) + ` daemon run
` + env.String() + `Restart=on-failure
RestartSec=2
RestartPreventExitStatus=1
UMask=0077

[Install]
WantedBy=default.target
`
}

// quoteUnit quotes an argument according to systemd.syntax(7). '%' must be doubled, since it
// starts a specifier.
func quoteUnit(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, "\n", `\n`).Replace(s) + `"`
}

// plist returns a launchd agent; see launchd.plist(5).
func (s Service) plist() string {
	var env strings.Builder
	for _, name := range s.envNames() {
		fmt.Fprintf(&env, "\t\t<key>%s</key>\n\t\t<string>%s</string>\n", escapeXML(name), escapeXML(s.Env[name]))
	}
	return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + launchdLabel + `</string>
	<key>ProgramArguments</key>
	<array>
		<string>` + escapeXML(s.Executable) + `</string>
		<string>daemon</string>
		<string>run</string>
	</array>
	<key>EnvironmentVariables</key>
	<dict>
` + env.String() + `	</dict>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>Crashed</key>
		<true/>
	</dict>
	<key>Umask</key>
	<integer>63</integer>
	<key>StandardErrorPath</key>
	<string>` + escapeXML(s.LogPath) + `</string>
</dict>
</plist>
`
}

var (
	unitProgram  = regexp.MustCompile(`(?m)^ExecStart="((?:[^"\\]|\\.)*)"`)
	plistProgram = regexp.MustCompile(`<key>ProgramArguments</key>\s*<array>\s*<string>([^<]*)</string>`)
)

// ServiceProgram returns the path of the program that a service definition starts, or "" if
// claudemesh did not write the definition.
func ServiceProgram(text string) string {
	if found := unitProgram.FindStringSubmatch(text); found != nil {
		return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `%%`, `%`, `\n`, "\n").Replace(found[1])
	}
	if found := plistProgram.FindStringSubmatch(text); found != nil {
		return html.UnescapeString(found[1])
	}
	return ""
}

func (s Service) envNames() []string { return slices.Sorted(maps.Keys(s.Env)) }

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}
