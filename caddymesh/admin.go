package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/claudemesh/claudemesh/broker"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves details for the operator at Caddy's admin endpoint. GET
// /claudemesh/health reports, for each broker of this process, where its storage is and
// whether the broker can store messages now, with the cause and what to do if it can't. The
// public routes don't reveal this to strangers.
//
// GET /claudemesh/ is a page that shows the same to people; see operatorPage.
type adminAPI struct{ page *operatorPage }

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.claudemesh", New: func() caddy.Module { return new(adminAPI) }}
}

// Provision makes the page of a config.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	a.page = &operatorPage{ended: ctx.Done()}
	return nil
}

// Routes implements caddy.AdminRouter.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	list := []caddy.AdminRoute{
		{Pattern: "/claudemesh/health", Handler: caddy.AdminHandlerFunc(adminHealth)},
		{Pattern: "/claudemesh/", Handler: caddy.AdminHandlerFunc(a.page.serve)},
		{Pattern: "/claudemesh/events", Handler: caddy.AdminHandlerFunc(a.page.stream)},
	}
	for _, route := range adminRoutes {
		list = append(list, caddy.AdminRoute{Pattern: "/claudemesh/" + route.name, Handler: route})
	}
	return list
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
	rows := []brokerHealth{}
	for _, l := range brokers() {
		rows = append(rows, healthOf(r.Context(), l))
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(rows)
}

func healthOf(ctx context.Context, l named) brokerHealth {
	if err := l.broker.Ready(ctx); err != nil {
		return brokerHealth{Storage: l.as.String(), Error: trouble(l.as, err).Error()}
	}
	return brokerHealth{Storage: l.as.String(), Ready: true}
}

// named is a broker of this process that runs, with its storage.
type named struct {
	broker *broker.Broker
	opened
}

// brokers lists the brokers of this process that run. One that is starting or has just
// stopped is not among them.
func brokers() (all []named) {
	hubs.Range(func(_, value any) bool {
		if h, ok := value.(*hub); ok {
			if b, o := h.broker.Load(), h.opened.Load(); b != nil && o != nil {
				all = append(all, named{b, *o})
			}
		}
		return true
	})
	return all
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
