package caddymesh

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/html"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/wire"
)

const hostile = "<img src=x onerror=alert(1)>\u202egnp.\u200b\x1b[31m</td>"

// figures is a snapshot in which every number differs.
func figures() *snapshot {
	n := 100
	next := func() int { n++; return n }
	row := func() statusRow {
		return statusRow{
			brokerHealth: brokerHealth{Storage: hostile, Error: hostile}, Version: "v1.2.3", Uptime: 1e5, Connections: next(), Meshes: next(),
			Presences: next(), Leased: next(), Accepted: int64(next()), Delivered: int64(next()), Open: next(), Waiting: int64(next()),
			Oldest: 90, Held: next(), Failures: int64(next()),
		}
	}
	at := time.Date(2026, 7, 14, 9, 30, 0, 0, time.UTC)
	s := &snapshot{
		Taken: at, Brokers: []statusRow{row(), row()}, Total: row(), Pushed: int64(next()), Again: int64(next()), Repeated: int64(next()),
		Commits: int64(next()), Used: int64(next()), Budget: int64(next()), MoreMeshes: next(), MoreSessions: next(),
		Refused:  []countRow{{[]string{"rate_limit"}, int64(next())}, {[]string{"forbidden"}, int64(next())}},
		Failures: []countRow{{[]string{"commit", "unreachable"}, int64(next())}},
		Files:    []fileRow{{hostile, uint64(next()), uint64(next())}},
		Meshes:   []broker.MeshOverview{{ID: wire.ID{1}, Slug: hostile, Name: hostile, Members: next(), Presences: next(), Connections: next()}},
	}
	s.Brokers[1].Ready, s.Brokers[1].Error = true, ""
	for _, status := range []string{"idle", "working", "dnd", hostile} {
		s.Sessions = append(s.Sessions, sessionRow{hostile, broker.PresenceOverview{
			Name: hostile, Role: "session", Status: status, Online: status == "idle", Host: hostile, Connected: at, LastSeen: at,
		}})
	}
	s.Stored = storageFigures{
		Nodes: []cluster.Node{{Host: hostile, Version: "v1.2.2", PID: next(), Schema: next(), Started: at, Live: true}}, Shared: true,
		Candidates: []postgres.Candidate{{Node: cluster.Node{Host: hostile, PID: next(), Schema: next(), Started: at, Address: hostile}, Reason: hostile}},
		Queues:     []queueRow{{wire.ID{1}, hostile, int64(next()), int64(next()), int64(next()), 7200}},
		Heads:      []auditRow{{wire.ID{1}, hostile, int64(next()), strings.Repeat("ab", 32)}}, MoreHeads: next(), Error: hostile,
	}
	return s
}

// want lists the numbers of a snapshot by the names under which the page shows them.
func (s *snapshot) want() []string {
	var list []string
	add := func(name string, n any) { list = append(list, fmt.Sprintf("%s=%v", name, n)) }
	t := s.Total
	for _, row := range append(slices.Clone(s.Brokers), t) {
		add("connections", row.Connections)
		add("meshes", row.Meshes)
		add("presences", row.Presences)
	}
	for name, n := range map[string]any{
		"messages_accepted": t.Accepted, "deliveries": t.Delivered, "messages_open": t.Open, "messages_held": t.Held,
		"presences_leased": t.Leased, "commit_errors": t.Failures, "pushes": s.Pushed, "redeliveries": s.Again,
		"messages_repeated": s.Repeated, "commits": s.Commits, "journal_used_bytes": s.Used, "journal_budget_bytes": s.Budget,
		"more_meshes": s.MoreMeshes, "more_sessions": s.MoreSessions, "more_heads": s.Stored.MoreHeads,
	} {
		if strings.HasPrefix(name, "more_") && n == 0 {
			continue
		}
		add(name, n)
	}
	add("queue_deliveries", t.Waiting) // among the flow, and among the queues
	add("queue_deliveries", t.Waiting)
	for _, c := range append(slices.Clone(s.Refused), s.Failures...) {
		add("count", c.N)
	}
	for _, f := range s.Files {
		add("storage_bytes", f.Size)
		add("storage_free_bytes", f.Free)
	}
	for _, m := range s.Meshes {
		add("members", m.Members)
		add("presences", m.Presences)
		add("connections", m.Connections)
	}
	nodes := slices.Clone(s.Stored.Nodes)
	for _, c := range s.Stored.Candidates {
		nodes = append(nodes, c.Node)
	}
	for _, node := range nodes {
		add("process", node.PID)
		add("schema", node.Schema)
	}
	for _, q := range s.Stored.Queues {
		add("messages", q.Messages)
		add("deliveries", q.Deliveries)
		add("bytes", q.Bytes)
	}
	for _, head := range s.Stored.Heads {
		add("seq", head.Seq)
	}
	slices.Sort(list)
	return list
}

// pageOf returns the page of a snapshot.
func pageOf(t *testing.T, s *snapshot) string {
	t.Helper()
	v, err := render(s, []point{{s.Taken, 0, 0}, {s.Taken.Add(time.Second), 7, 3}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p := &operatorPage{last: v}
	v.Taken = time.Now()
	if err := p.serve(w, httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/", nil)); err != nil || w.Code != http.StatusOK {
		t.Fatal(w.Code, err)
	}
	return w.Body.String()
}

func TestOperatorPageShowsTheSnapshot(t *testing.T) {
	t.Parallel()
	s := figures()
	page := parsePage(t, pageOf(t, s))
	if got, want := numbers(page), s.want(); !slices.Equal(got, want) {
		t.Errorf("the page shows\n%q\nwant\n%q", got, want)
	}
	var cells []string
	for node := range page.Descendants() {
		if node.Data == "td" || node.Data == "th" {
			cells = append(cells, textOf(node))
		}
	}
	for _, want := range []string{"v1.2.3", "v1.2.2", "ready", "valid", "14 Jul 09:30:00", "idle", "working", "dnd", "online", "away", "rate_limit", "forbidden",
		"commit", "unreachable", "2 h 0 min", wire.ID{1}.String(), strings.Repeat("ab", 32)} {
		if !slices.Contains(cells, want) {
			t.Errorf("no cell of the page shows %s", want)
		}
	}
}

// numbers lists the numbers on a page as name=value.
func numbers(page *html.Node) []string {
	var list []string
	for node := range page.Descendants() {
		if node.Data == "data" {
			list = append(list, attribute(node, "data-name")+"="+attribute(node, "value"))
		}
	}
	slices.Sort(list)
	return list
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(node *html.Node) string {
	var b strings.Builder
	for child := range node.Descendants() {
		if child.Type == html.TextNode {
			b.WriteString(child.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// parsePage parses a page, in which each element must be closed where it was opened.
func parsePage(t *testing.T, page string) *html.Node {
	t.Helper()
	var open []string
	empty := []string{"meta", "link", "br", "img"}
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		switch token := z.Token(); {
		case kind == html.StartTagToken && !slices.Contains(empty, token.Data):
			open = append(open, token.Data)
		case kind == html.EndTagToken && (len(open) == 0 || open[len(open)-1] != token.Data):
			t.Fatalf("</%s> has no start tag; open elements: %v", token.Data, open)
		case kind == html.EndTagToken:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Fatalf("%v is not closed", open)
	}
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestOperatorPageIsAccessible checks landmarks, headings, labels and tables, on a page with
// everything and on one with nothing.
func TestOperatorPageIsAccessible(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*snapshot{"full": figures(), "empty": {Taken: time.Now()}} {
		page := parsePage(t, pageOf(t, s))
		seen, ids := map[string]int{}, map[string]*html.Node{}
		for node := range page.Descendants() {
			seen[node.Data]++
			if id := attribute(node, "id"); id != "" {
				if ids[id] != nil {
					t.Errorf("%s: two elements have the id %s", name, id)
				}
				ids[id] = node
			}
		}
		for tag, n := range map[string]int{"header": 1, "nav": 1, "main": 1, "footer": 1, "h1": 1, "title": 1, "h2": len(operatorSections) - 1} {
			if seen[tag] != n {
				t.Errorf("%s: %d <%s>, want %d", name, seen[tag], tag, n)
			}
		}
		for node := range page.Descendants() {
			accessible(t, name, node, ids)
		}
	}
}

func accessible(t *testing.T, page string, node *html.Node, ids map[string]*html.Node) {
	t.Helper()
	if node.Type != html.ElementNode {
		return
	}
	switch node.Data {
	case "html":
		if attribute(node, "lang") != "en" {
			t.Errorf("%s: the page has no language", page)
		}
	case "a":
		if target := strings.TrimPrefix(attribute(node, "href"), "#"); ids[target] == nil || textOf(node) == "" {
			t.Errorf("%s: a link leads to %q", page, target)
		}
	case "section":
		if label := ids[attribute(node, "aria-labelledby")]; label == nil || label.Data != "h2" || textOf(label) == "" {
			t.Errorf("%s: section %s has no heading", page, attribute(node, "id"))
		}
	case "table":
		if caption := firstElement(node); caption == nil || caption.Data != "caption" || textOf(caption) == "" {
			t.Errorf("%s: a table has no caption", page)
		}
	case "th":
		want := "col"
		if node.Parent.Parent.Data == "tbody" {
			want = "row"
		}
		if attribute(node, "scope") != want || textOf(node) == "" {
			t.Errorf("%s: header %q has the scope %q", page, textOf(node), attribute(node, "scope"))
		}
	case "tr":
		if th := firstElement(node); th == nil || th.Data != "th" {
			t.Errorf("%s: row %q has no header", page, textOf(node))
		}
	case "td":
		// A card shows the label in place of the header, and a screen reader needs the role then.
		label, role, header := attribute(node, "data-label"), attribute(node, "role"), textOf(headerOf(node))
		if (label != "" || role != "") && (label != header || role != "cell") {
			t.Errorf("%s: a cell of the column %q has the label %q and the role %q", page, header, label, role)
		}
	case "svg":
		if attribute(node, "aria-hidden") != "true" {
			t.Errorf("%s: a drawing is not hidden from readers", page)
		}
	case "script", "style":
		if len(node.Attr) > 0 {
			t.Errorf("%s: <%s> has attributes", page, node.Data)
		}
	}
	if attribute(node, "tabindex") == "0" && (attribute(node, "role") != "region" || attribute(node, "aria-label") == "") {
		t.Errorf("%s: <%s> takes the focus without a label", page, node.Data)
	}
	for _, a := range node.Attr {
		if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
			t.Errorf("%s: <%s> has %s, which the policy forbids", page, node.Data, a.Key)
		}
	}
}

// headerOf returns the header of the column of a cell.
func headerOf(cell *html.Node) *html.Node {
	table := cell.Parent.Parent.Parent
	column := 0
	for sibling := cell.PrevSibling; sibling != nil; sibling = sibling.PrevSibling {
		if sibling.Type == html.ElementNode {
			column++
		}
	}
	for node := range table.Descendants() {
		if attribute(node, "scope") != "col" {
			continue
		}
		if column == 0 {
			return node
		}
		column--
	}
	return table
}

func firstElement(node *html.Node) *html.Node {
	for child := range node.ChildNodes() {
		if child.Type == html.ElementNode {
			return child
		}
	}
	return nil
}

func TestOperatorPageEscapesNames(t *testing.T) {
	t.Parallel()
	page := pageOf(t, figures())
	for _, bad := range []string{"<img", "\u202e", "\u200b", "\x1b"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	shown := line(hostile)
	if !strings.Contains(shown, `\u{202E}`) {
		t.Fatalf("shown as %s", shown)
	}
	for node := range parsePage(t, page).Descendants() {
		if class := attribute(node, "class"); class == "name" && textOf(node) != shown {
			t.Errorf("a name is shown as %q", textOf(node))
		}
	}
}

// TestOperatorPageShowsReasons checks that the page does not cut what says why a broker waits, or is
// not ready: the end of it says what to do.
func TestOperatorPageShowsReasons(t *testing.T) {
	t.Parallel()
	s := figures()
	why := func(what string) string { return strings.Repeat(what+" is wrong, ", 20) + "change " + what }
	s.Brokers[0].Error, s.Stored.Candidates[0].Reason, s.Stored.Error = why("this"), why("that"), why("something else")
	page := pageOf(t, s)
	for _, what := range []string{"this", "that", "something else"} {
		if !strings.Contains(page, why(what)) {
			t.Errorf("the page does not contain %q", why(what))
		}
	}
}

func TestOperatorPageHeaders(t *testing.T) {
	t.Parallel()
	p := &operatorPage{}
	w := httptest.NewRecorder()
	if err := p.serve(w, httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/", nil)); err != nil {
		t.Fatal(err)
	}
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("got policy %q", policy)
	}
	for _, tag := range []string{"style", "script"} {
		if hash := inlineHash(w.Body.String(), tag); !strings.Contains(policy, tag+"-src "+hash) {
			t.Errorf("the policy forbids the page's own %s, %s: %s", tag, hash, policy)
		}
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		"X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for path, methods := range map[string]string{"/claudemesh/": "POST PUT DELETE", "/claudemesh/events": "POST HEAD"} {
		for method := range strings.FieldsSeq(methods) {
			serve := p.serve
			if path != "/claudemesh/" {
				serve = p.stream
			}
			wantStatus(t, serve(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, path, nil)), http.StatusMethodNotAllowed)
		}
	}
	wantStatus(t, p.serve(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/other", nil)), http.StatusNotFound)
}

func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	var api caddy.APIError
	if !errors.As(err, &api) || api.HTTPStatus != status {
		t.Errorf("%v, want %d", err, status)
	}
}

// TestOperatorPageContrast checks every color that text may have, on every background, in
// both schemes, against WCAG 2.2 AA.
func TestOperatorPageContrast(t *testing.T) {
	t.Parallel()
	schemes := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(operatorHTML, -1)
	if len(schemes) != 2 {
		t.Fatalf("got %d color schemes", len(schemes))
	}
	for i, scheme := range schemes {
		colors := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z]+): #([0-9a-f]{6})`).FindAllStringSubmatch(scheme[1], -1) {
			colors[m[1]] = luminance(t, m[2])
		}
		for _, on := range []string{"page", "card", "head"} {
			for name, least := range map[string]float64{
				"text": 4.5, "soft": 4.5, "accent": 4.5, "good": 4.5, "bad": 4.5, // text
				"second": 3, "edge": 3, // what is drawn
			} {
				a, b := colors[name], colors[on]
				if a == 0 && b == 0 {
					t.Fatalf("scheme %d lacks %s or %s", i, name, on)
				}
				if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < least {
					t.Errorf("scheme %d: %s on %s has a contrast of %.2f, want %.1f", i, name, on, ratio, least)
				}
			}
		}
	}
}

// luminance returns the relative luminance of a color, as WCAG defines it.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	var sum float64
	for i, weight := range []float64{.2126, .7152, .0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= .04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}

// TestOperatorPageOfABroker looks at a broker with a mesh, through the page and through its
// stream, and compares the page with the JSON routes.
func TestOperatorPageOfABroker(t *testing.T) {
	s := startServer(t)
	s.awaitReady()
	p := &operatorPage{ended: t.Context().Done()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.stream(w, r); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	sections := follow(t, ctx, server.URL)
	if first := <-sections; len(first) != len(operatorSections) {
		t.Errorf("the first event has %d sections", len(first))
	}
	s.createMesh(hostile[:20])
	for changed := range sections {
		if strings.Contains(changed["sessions"], "Ada") {
			break
		}
	}
	if ctx.Err() != nil {
		t.Fatal("the stream has ended")
	}
	v, err := p.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Only the mesh's own connection changes these numbers.
	status, err := adminStatus(httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/status", nil))
	if err != nil {
		t.Fatal(err)
	}
	row := status.([]statusRow)[0]
	if got := v.Brokers[0]; got.Presences != row.Presences || got.Connections != row.Connections || got.Accepted != row.Accepted || got.Storage != row.Storage {
		t.Errorf("%+v on the page, %+v as JSON", got, row)
	}
	if got, want := numbers(parsePage(t, pageOf(t, &v.snapshot))), v.want(); !slices.Equal(got, want) {
		t.Errorf("the page shows\n%q\nwant\n%q", got, want)
	}
}

// follow reads a stream. The channel is closed when the stream ends.
func follow(t *testing.T, ctx context.Context, url string) <-chan map[string]string {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("the stream is %q", got)
	}
	events := make(chan map[string]string)
	go func() {
		defer close(events)
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var sections map[string]string
			if err := json.Unmarshal([]byte(text), &sections); err != nil {
				t.Error(err)
				return
			}
			select {
			case events <- sections:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events
}

// TestOperatorPageViewers checks that all viewers share one snapshot per second, that their
// number is limited, that nothing happens while nobody looks, and that the streams end with
// the config.
func TestOperatorPageViewers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		p := &operatorPage{ended: ended}
		look := func(ctx context.Context) chan error {
			left := make(chan error, 1)
			go func() {
				left <- p.stream(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/claudemesh/events", nil))
			}()
			return left
		}
		ctx, leave := context.WithCancel(t.Context())
		var all []chan error
		for range maxViewers {
			all = append(all, look(ctx))
		}
		time.Sleep(10*takeEvery + takeEvery/2)
		synctest.Wait()
		if n := len(p.history); n != 11 {
			t.Errorf("%d viewers caused %d snapshots in 10 s", maxViewers, n)
		}
		wantStatus(t, <-look(ctx), http.StatusServiceUnavailable)
		leave()
		for _, left := range all {
			if err := <-left; err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		if n := len(p.history); n != 11 {
			t.Errorf("%d snapshots were taken after the last viewer left", n)
		}
		left := look(t.Context())
		synctest.Wait()
		close(ended)
		if err := <-left; err != nil {
			t.Error(err)
		}
	})
}

func TestRates(t *testing.T) {
	t.Parallel()
	start := time.Now()
	var history []point
	if rate("accepted", history) != "–" || curve("accepted", history) != "" {
		t.Error("the page shows a rate before there is any data")
	}
	for i := range int64(100) {
		history = remember(history, point{start.Add(time.Duration(i) * time.Second), 40 * i, i})
	}
	if len(history) != historyPoints || rate("accepted", history) != "40" || rate("delivered", history) != "1.0" {
		t.Errorf("%d points, %s and %s per second", len(history), rate("accepted", history), rate("delivered", history))
	}
	for point := range strings.FieldsSeq(curve("accepted", history)) {
		x, y, _ := strings.Cut(point, ",")
		if len(cmp.Or(x, y)) == 0 || strings.HasPrefix(x, "-") || y != "2.0" {
			t.Errorf("the curve goes through %s", point)
		}
	}
	last := history[len(history)-1]
	for name, p := range map[string]point{
		"a pause": {last.at.Add(time.Minute), last.accepted, last.delivered}, "a new broker": {last.at.Add(time.Second), 0, 0},
	} {
		if n := len(remember(history, p)); n != 1 {
			t.Errorf("after %s the history has %d points", name, n)
		}
	}
}
