package caddymesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const (
	// maxViewers limits the streams of a config.
	maxViewers = 32
	// viewerPatience is how long a viewer may take to read an event.
	viewerPatience = 10 * time.Second
)

// viewers counts the open streams.
type viewers struct{ atomic.Int32 }

// enter reports whether there is room for another viewer, who then has to leave.
func (v *viewers) enter() bool {
	if v.Add(1) > maxViewers {
		v.leave()
		return false
	}
	return true
}

func (v *viewers) leave() { v.Add(-1) }

// stream answers GET /claudemesh/events: server-sent events with the sections of the page
// that have changed, as HTML.
func (p *operatorPage) stream(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	if !p.viewers.enter() {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("%d viewers look at the page already", maxViewers)}
	}
	defer p.viewers.leave()
	controller := http.NewResponseController(w)
	// Caddy limits the time that a request to the admin endpoint may take to arrive; to the
	// HTTP server, this request arrives until it ends.
	if err := controller.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	v, err := p.current(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	protect(w.Header())
	if _, err := fmt.Fprint(w, "retry: 2000\n\n"); err != nil {
		return nil //nolint:nilerr // the viewer is gone
	}
	shown := map[string]template.HTML{}
	for err == nil {
		_ = controller.SetWriteDeadline(time.Now().Add(viewerPatience))
		if err := sendChanged(w, v.sections, shown); err != nil {
			return nil //nolint:nilerr // the viewer is gone
		}
		if err := controller.Flush(); err != nil {
			return nil //nolint:nilerr // the viewer is gone
		}
		select {
		case <-time.After(time.Until(v.Taken.Add(takeEvery))):
		case <-r.Context().Done():
			return nil
		case <-p.ended:
			return nil
		}
		v, err = p.current(r.Context())
	}
	return nil // the viewer asks again, and learns why
}

// sendChanged sends the sections that a viewer doesn't have yet.
func sendChanged(w http.ResponseWriter, sections, shown map[string]template.HTML) error {
	changed := map[string]template.HTML{}
	for name, html := range sections {
		if shown[name] != html {
			changed[name], shown[name] = html, html
		}
	}
	if len(changed) == 0 {
		return nil
	}
	text, err := json.Marshal(changed)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "event: sections\ndata: %s\n\n", text)
	return err
}
