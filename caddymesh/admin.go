package caddymesh

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves details for the operator at Caddy's admin endpoint. GET
// /claudemesh/health reports, for each broker of this process, where its storage is and
// whether the broker can store messages now, with the full error if it can't. The public
// routes don't reveal this to strangers.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.claudemesh", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/claudemesh/health", Handler: caddy.AdminHandlerFunc(adminHealth)}}
}

// brokerHealth is a row of GET /claudemesh/health.
type brokerHealth struct {
	Storage string `json:"storage"`
	Ready   bool   `json:"ready"`
	Error   string `json:"error,omitempty"`
}

func adminHealth(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	var all []*hub
	hubs.Range(func(_, value any) bool {
		if h, ok := value.(*hub); ok {
			all = append(all, h)
		}
		return true
	})
	rows := []brokerHealth{}
	for _, h := range all {
		b, name := h.broker.Load(), h.storage.Load()
		if b == nil || name == nil {
			continue // the broker is starting or has just stopped
		}
		if err := b.Ready(r.Context()); err != nil {
			rows = append(rows, brokerHealth{Storage: *name, Error: err.Error()})
			continue
		}
		rows = append(rows, brokerHealth{Storage: *name, Ready: true})
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(rows)
}

// Interface guards
var _ caddy.AdminRouter = adminAPI{}
