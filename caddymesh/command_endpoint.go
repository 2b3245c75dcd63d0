package caddymesh

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// endpoint is the address of Caddy's admin endpoint. The zero value means that none was given.
type endpoint struct {
	text          string // as Caddy writes it
	network, path string // to dial
	host          string // of requests
}

// parseEndpoint reads an address as Caddy writes it: host:port, or unix/ and the path of a socket.
func parseEndpoint(text string) (endpoint, error) {
	if text == "" {
		return endpoint{}, errors.New("it is empty: give host:port, or unix/ and the path of a socket")
	}
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		hint := withPort(host)
		if scheme == "unix" {
			hint = "unix/" + rest
		}
		return endpoint{}, fmt.Errorf("give it without %s://, such as %s", scheme, hint)
	}
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") {
		return endpoint{}, fmt.Errorf("write a socket as unix/%s", text)
	}
	address, err := caddy.ParseNetworkAddress(text)
	e := endpoint{text: text, network: address.Network, path: address.JoinHostPort(0)}
	switch {
	case err != nil:
		return endpoint{}, fmt.Errorf("give host:port, such as %s, or unix/ and the path of a socket (%w)", caddy.DefaultAdminListen, err)
	case address.IsUnixNetwork():
		e.path, _, _ = strings.Cut(address.Host, "|") // the socket's permissions follow
		e.host = "127.0.0.1"
		if e.path == "" {
			return endpoint{}, errors.New("the path of the socket is missing after unix/")
		}
	case address.Network != "tcp" && address.Network != "tcp4" && address.Network != "tcp6":
		return endpoint{}, fmt.Errorf("the admin endpoint can't be reached over %q; give host:port, or unix/ and the path of a socket", address.Network)
	case address.StartPort == 0:
		return endpoint{}, fmt.Errorf("the port is missing: give host:port, such as %s", withPort(text))
	case address.PortRangeSize() > 1:
		return endpoint{}, errors.New("give one port, not a range")
	default:
		e.host = e.path
	}
	return e, nil
}

// withPort returns an example of an address: the host, and the port at which Caddy's admin endpoint
// listens by default unless the text has another.
func withPort(text string) string {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host = strings.Trim(text, "[]")
	}
	if _, err := strconv.ParseUint(host, 10, 16); err == nil {
		host, port = "", host
	}
	defaultHost, defaultPort, err := net.SplitHostPort(caddy.DefaultAdminListen)
	if err != nil { // CADDY_ADMIN names a socket
		defaultHost, defaultPort = "localhost", "2019"
	}
	return net.JoinHostPort(cmp.Or(host, defaultHost), cmp.Or(port, defaultPort))
}

// Set, String and Type make an endpoint the value of a flag.
func (e *endpoint) Set(text string) (err error) {
	*e, err = parseEndpoint(text)
	return err
}

func (e *endpoint) String() string { return e.text }
func (e *endpoint) Type() string   { return "address" }

// transport returns a transport that dials the endpoint.
func (e *endpoint) transport() *http.Transport {
	return &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, e.network, e.path)
		},
	}
}

// admin holds the flags that say where the broker is.
type admin struct {
	address         endpoint
	config, adapter string
}

const whereUsage = " [--config <file> [--adapter <name>] | --address <address>]"

// where adds the flags that tell where the broker is.
func (a *admin) where(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&a.config, "config", "c", "", "Config file of the running Caddy, which names its admin endpoint")
	flags.StringVarP(&a.adapter, "adapter", "a", "", "Name of the config adapter, if the file name doesn't imply it")
	flags.Var(&a.address, "address", "Address of the admin endpoint, instead of the config's: host:port, or unix/<path>")
}

// find returns the admin endpoint.
func (a *admin) find() (endpoint, error) {
	if a.address != (endpoint{}) {
		return a.address, nil
	}
	config, file, adapter, err := caddycmd.LoadConfig(a.config, a.adapter)
	if err != nil {
		return endpoint{}, err
	}
	text, err := caddycmd.DetermineAdminAPIAddress("", config, file, adapter)
	if err != nil {
		return endpoint{}, fmt.Errorf("find the admin endpoint: %w", err)
	}
	e, err := parseEndpoint(text)
	if err != nil {
		return endpoint{}, fmt.Errorf("the config has the admin endpoint %q: %w; --address names another one", text, err)
	}
	return e, nil
}

// ask asks the admin endpoint and returns the rows of its answer.
func (a *admin) ask(ctx context.Context, method, what string, query url.Values) ([]row, error) {
	e, err := a.find()
	if err != nil {
		return nil, err
	}
	rows, err := e.ask(ctx, method, what, query)
	if err != nil {
		return nil, fmt.Errorf("ask the broker at %s: %w", e.text, err)
	}
	return rows, nil
}

func (e *endpoint) ask(ctx context.Context, method, what string, query url.Values) ([]row, error) {
	at := url.URL{Scheme: "http", Host: e.host, Path: "/claudemesh/" + what, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, err
	}
	if !caddy.IsUnixNetwork(e.network) {
		request.Header.Set("Origin", "http://"+e.host) // as Caddy's own commands do
	}
	transport := e.transport()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	answer, err := client.Do(request)
	for again := 0; again < 3 && method == http.MethodGet && wasCut(err); again++ {
		answer, err = client.Do(request)
	}
	if err != nil {
		return nil, fmt.Errorf("nothing answers there as Caddy does (%s); is Caddy running? --config or --address names its admin endpoint", causes(err))
	}
	defer answer.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(answer.Body, 256<<20))
	decoder.UseNumber()
	if answer.StatusCode != http.StatusOK {
		var refusal struct {
			Error string `json:"error"`
			OK    *bool  `json:"ok"` // of the broker's public routes
		}
		if decoder.Decode(&refusal) == nil && refusal.Error != "" && refusal.OK == nil {
			return nil, errors.New(refusal.Error)
		}
		return nil, fmt.Errorf("it answers with HTTP status %d, so it is not the admin endpoint of a Caddy with a broker; name that with --config or --address", answer.StatusCode)
	}
	var rows []row
	if err := decoder.Decode(&rows); err != nil {
		return nil, fmt.Errorf("something other than Caddy's admin endpoint answers there (%w); name that endpoint with --config or --address", err)
	}
	return rows, nil
}

// wasCut reports whether a server accepted a connection and closed it instead of answering. Caddy
// does so while it replaces the admin endpoint of the previous config.
func wasCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}
