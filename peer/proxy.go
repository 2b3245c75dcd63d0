package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// brokerClient connects to brokers unless the caller supplies a client. It honours
// HTTPS_PROXY for wss, HTTP_PROXY for ws, ALL_PROXY for both if these are not set, and
// NO_PROXY, in upper or lower case. The URL of a proxy has the scheme http, https, socks5
// or socks5h and may contain credentials.
var brokerClient = sync.OnceValue(func() *http.Client {
	return &http.Client{Transport: newProxied(proxyFromEnvironment())}
})

// proxyFromEnvironment returns the proxy for a URL, or nil for none.
func proxyFromEnvironment() func(*url.URL) (*url.URL, error) {
	config := httpproxy.FromEnvironment()
	all := os.Getenv("ALL_PROXY")
	if all == "" {
		all = os.Getenv("all_proxy")
	}
	if config.HTTPProxy == "" {
		config.HTTPProxy = all
	}
	if config.HTTPSProxy == "" {
		config.HTTPSProxy = all
	}
	return config.ProxyFunc()
}

// ProxyError reports that the broker can't be reached through a proxy: either the proxy
// can't be reached, or it refuses.
type ProxyError struct {
	Proxy, Broker string // hosts, with the ports that their URLs have
	Err           error
}

func (e *ProxyError) Error() string {
	return fmt.Sprintf("reach %s through the proxy %s: %v", e.Broker, e.Proxy, e.Err)
}

func (e *ProxyError) Unwrap() error { return e.Err }

// proxied sends each request the way that its scheme needs. net/http asks a proxy for a
// tunnel (CONNECT) only for TLS. A WebSocket needs a tunnel without TLS too; see RFC 6455,
// section 4.1.
type proxied struct{ plain, secure *http.Transport }

func newProxied(proxy func(*url.URL) (*url.URL, error)) *proxied {
	secure := http.DefaultTransport.(*http.Transport).Clone()
	secure.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
	secure.OnProxyConnectResponse = func(_ context.Context, via *url.URL, connect *http.Request, answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			return &ProxyError{via.Host, connect.URL.Host, errors.New("the proxy answered " + answer.Status)}
		}
		return nil
	}
	plain := secure.Clone()
	plain.Proxy = func(r *http.Request) (*url.URL, error) {
		u, err := proxy(r.URL)
		if err != nil || u == nil || !strings.HasPrefix(u.Scheme, "socks") {
			return nil, err // the dialer makes the tunnel
		}
		return u, nil
	}
	direct := plain.DialContext
	plain.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		u, err := proxy(&url.URL{Scheme: "http", Host: addr})
		if err != nil {
			return nil, err
		}
		if u == nil || strings.HasPrefix(u.Scheme, "socks") {
			return direct(ctx, network, addr) // of the broker, or of the SOCKS proxy
		}
		return tunnel(ctx, direct, u, addr)
	}
	return &proxied{plain, secure}
}

// RoundTrip implements http.RoundTripper.
func (p *proxied) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		return p.secure.RoundTrip(r)
	}
	return p.plain.RoundTrip(r)
}

// tunnel asks a proxy for a tunnel to addr.
func tunnel(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), proxy *url.URL, addr string) (net.Conn, error) {
	raw, err := dial(ctx, "tcp", proxyAddr(proxy))
	if err != nil {
		return nil, &ProxyError{proxy.Host, addr, err}
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) }) // interrupts reads and writes
	defer stop()
	conn := raw
	if proxy.Scheme == "https" {
		conn = tls.Client(raw, &tls.Config{ServerName: proxy.Hostname()})
	}
	if err := askForTunnel(conn, proxy.User, addr); err != nil {
		_ = conn.Close()
		return nil, &ProxyError{proxy.Host, addr, err}
	}
	return conn, nil
}

func askForTunnel(conn net.Conn, user *url.Userinfo, addr string) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: make(http.Header)}
	if user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	// The server at the other end does not speak first, so the reader has read nothing of
	// its data.
	resp, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy answered %s", resp.Status)
	}
	return nil
}

// proxyAddr returns the host and port of a proxy.
func proxyAddr(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[proxy.Scheme]
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}
