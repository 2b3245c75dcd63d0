package relay

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("bench_relay", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return &Handler{}, nil
	})
}

// Handler is a Server as a Caddy handler.
type Handler struct{ server *Server }

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_relay", New: func() caddy.Module { return new(Handler) }}
}

// Provision creates the server.
func (h *Handler) Provision(caddy.Context) error {
	h.server = new(Server)
	return nil
}

// ServeHTTP serves every request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.server.ServeHTTP(w, r)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
