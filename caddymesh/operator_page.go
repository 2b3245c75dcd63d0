package caddymesh

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/visible"
)

//go:embed operator.html
var operatorHTML string

var (
	operatorTemplate = template.Must(template.New("operator").Funcs(template.FuncMap{
		"num": num, "ident": ident, "size": size, "span": span, "when": when, "line": line, "reason": reason, "rate": rate, "curve": curve, "clock": cluster.Clock,
	}).Parse(operatorHTML))

	operatorPolicy = policyOf(operatorTemplate)
)

// policyOf returns a policy that lets the page use its own script and style, and read its own
// stream. The hashes are of the page as the template writes it, which is without comments.
func policyOf(page *template.Template) string {
	var b strings.Builder
	if err := page.ExecuteTemplate(&b, "operator", nil); err != nil {
		panic(err)
	}
	return "default-src 'none'; style-src " + inlineHash(b.String(), "style") +
		"; script-src " + inlineHash(b.String(), "script") +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// operatorSections are the templates of the parts of the page that change.
var operatorSections = []string{"top", "flow", "brokers", "queues", "meshes", "sessions", "refusals", "storage", "audit"}

// takeEvery is the least time between two snapshots. All viewers share a snapshot.
const takeEvery = time.Second

// operatorPage is a page for the operator, at Caddy's admin endpoint, that shows what the
// brokers of this process do. It only reads. It costs nothing while nobody looks at it.
type operatorPage struct {
	ended <-chan struct{} // closed when the config ends

	viewers viewers

	mu      sync.Mutex
	last    *view          // nil at first
	stored  storageFigures // of last, or of an earlier view
	due     time.Time      // when the storages may be asked again
	history []point
}

// view is a snapshot as HTML, by section.
type view struct {
	snapshot
	sections map[string]template.HTML
}

// current returns a view that is at most takeEvery old.
func (p *operatorPage) current(ctx context.Context) (*view, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && time.Since(p.last.Taken) < takeEvery {
		return p.last, nil
	}
	ctx = context.WithoutCancel(ctx) // other viewers need the view, too
	all, absent := survey()
	s := takeSnapshot(ctx, all)
	for _, a := range absent {
		s.Brokers = append(s.Brokers, statusRow{brokerHealth: a})
	}
	if began := time.Now(); !began.Before(p.due) {
		p.stored = takeStored(ctx, all)
		p.due = time.Now().Add(max(storedEvery, storedPause*time.Since(began)))
	}
	s.Stored = p.stored
	p.history = remember(p.history, point{s.Taken, s.Total.Accepted, s.Total.Delivered})
	v, err := render(s, p.history)
	if err == nil {
		p.last = v
	}
	return v, err
}

func render(s *snapshot, history []point) (*view, error) {
	v := &view{*s, make(map[string]template.HTML)}
	data := struct {
		*snapshot
		History []point
	}{s, history}
	for _, name := range operatorSections {
		var b bytes.Buffer
		if err := operatorTemplate.ExecuteTemplate(&b, name, data); err != nil {
			return nil, fmt.Errorf("operator's page: %w", err)
		}
		v.sections[name] = template.HTML(b.String()) //nolint:gosec // written by a template
	}
	return v, nil
}

// serve answers GET /claudemesh/.
func (p *operatorPage) serve(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != "/claudemesh/" {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("not found")}
	}
	if err := onlyRead(r); err != nil {
		return err
	}
	v, err := p.current(r.Context())
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := operatorTemplate.ExecuteTemplate(&b, "operator", v.sections); err != nil {
		return fmt.Errorf("operator's page: %w", err)
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", operatorPolicy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	protect(header)
	_, err = b.WriteTo(w)
	return err
}

func onlyRead(r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed")}
	}
	return nil
}

// protect sets the headers of everything that a browser gets.
func protect(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
}

// The functions of the template. What they return as HTML consists of numbers and times.

// num writes a number, with the name of the field that it shows.
func num(name string, n any) template.HTML {
	value := fmt.Sprint(n)
	shown := value
	if i, err := strconv.ParseInt(value, 10, 64); err == nil {
		shown = humanize.Comma(i)
	}
	return data(name, value, shown)
}

// ident writes a number that is a name.
func ident(name string, n int) template.HTML { return data(name, strconv.Itoa(n), strconv.Itoa(n)) }

// size writes a number of bytes.
func size(name string, n any) template.HTML {
	value := fmt.Sprint(n)
	bytes, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return data(name, value, value)
	}
	return data(name, value, humanize.IBytes(bytes))
}

func data(name, value, shown string) template.HTML {
	e := template.HTMLEscapeString
	return template.HTML(`<data data-name="` + e(name) + `" value="` + e(value) + `">` + e(shown) + `</data>`) //nolint:gosec // escaped
}

// span writes a number of seconds as people read it.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}

// when writes a moment.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2 Jan 15:04:05") + `</time>`) //nolint:gosec // a time
}

// maxShownName limits what others wrote, in characters, and maxShownReason a sentence that says what
// is wrong and what to do.
const (
	maxShownName   = 80
	maxShownReason = 600
)

// line makes a text of others safe to show on one line.
func line(s string) string {
	if strings.TrimSpace(s) == "" {
		return "–"
	}
	return visible.Short(s, visible.People, maxShownName)
}

// reason makes an error safe to show.
func reason(s string) string { return visible.Short(s, visible.People, maxShownReason) }
