package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	all, absent := survey()
	rows := append([]brokerHealth{}, absent...)
	for _, l := range all {
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

// survey lists the brokers of this process that run. absent has a row for each one that is being
// replaced. One that starts for the first time is in neither list: its config is not in force yet.
func survey() (all []named, absent []brokerHealth) {
	hubs.Range(func(_, value any) bool {
		h, ok := value.(*hub)
		if !ok {
			return true
		}
		switch b, o := h.broker.Load(), h.opened.Load(); {
		case b != nil && o != nil:
			all = append(all, named{b, *o})
		case h.loss.Load() != nil && o != nil:
			absent = append(absent, brokerHealth{Storage: o.as.String(), Error: trouble(o.as, h.absence()).Error()})
		}
		return true
	})
	return all, absent
}

// brokers lists the brokers of this process that run. If there are none because they are being
// replaced, it returns an error that says so.
func brokers() ([]named, error) {
	all, absent := survey()
	if len(all) == 0 && len(absent) > 0 {
		return nil, awayError(absent)
	}
	return all, nil
}

// awayError says which brokers are not there for the moment, and why. It returns nil if absent is empty.
func awayError(absent []brokerHealth) error {
	var errs []error
	for _, a := range absent {
		errs = append(errs, fmt.Errorf("%s: %s; try again soon", a.Storage, a.Error))
	}
	return errors.Join(errs...)
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
