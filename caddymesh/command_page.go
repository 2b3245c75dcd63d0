package caddymesh

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"github.com/spf13/cobra"
)

// pagePort is where the page command listens by default.
const pagePort = "127.0.0.1:7990"

func pageCommand() *cobra.Command {
	var a admin
	var listen string
	cmd := &cobra.Command{
		Use:   "page [--listen <address>]" + whereUsage,
		Short: "Serves the operator's page to a browser, until interrupted",
		Long: `
Brings the operator's page, which is at /claudemesh/ of Caddy's admin endpoint, to a
browser. Browsers can't open a Unix socket, and Caddy refuses browsers at its admin
endpoint. This command listens on a loopback address and passes on the page and nothing
else of the endpoint: whoever can connect to the address can read the page, and can't
change anything. From another machine, use ssh:

  ssh -t -L 7990:127.0.0.1:7990 mesh.example.com caddy claudemesh page --config /etc/caddy/Caddyfile

and open http://127.0.0.1:7990/.`,
		Args: cobra.NoArgs,
	}
	a.where(cmd)
	cmd.Flags().StringVar(&listen, "listen", pagePort, "The loopback address to listen on")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := a.find()
		if err != nil {
			return err
		}
		if host, _, err := net.SplitHostPort(listen); err != nil || !isLoopbackName(host) {
			return fmt.Errorf("can't listen on %q: give a loopback address and a port, such as %s", listen, pagePort)
		}
		listener, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "The page is at http://%s/ until you press Ctrl-C.\n", listener.Addr())
		server := &http.Server{Handler: newPageProxy(&e), ReadHeaderTimeout: 5 * time.Second}
		return server.Serve(listener)
	}
	return cmd
}

// newPageProxy returns a handler that passes on requests for the page to an admin endpoint.
func newPageProxy(e *endpoint) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", e.host, e.host
			r.Out.Header = http.Header{} // Caddy refuses the headers of browsers
		},
		Transport: e.transport(),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, fmt.Sprintf("the broker's admin endpoint at %s does not answer: %v", e, err), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !isLoopbackName(r.Host): // a name that leads here, from a page of others
			http.Error(w, "open the page as http://127.0.0.1", http.StatusMisdirectedRequest)
		case onlyRead(r) != nil:
			http.Error(w, "the page only reads", http.StatusMethodNotAllowed)
		case r.URL.Path == "/":
			http.Redirect(w, r, "/claudemesh/", http.StatusFound)
		case r.URL.Path == "/claudemesh/", r.URL.Path == "/claudemesh/events":
			proxy.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}
