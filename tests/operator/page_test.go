package operator

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// chromiumVariable names the browser, if none is in the PATH.
const chromiumVariable = "CLAUDEMESH_TEST_CHROMIUM"

// screenshotsVariable names a directory for screenshots of the page.
const screenshotsVariable = "CLAUDEMESH_SCREENSHOTS"

func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(chromiumVariable); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-headless-shell", "chromium-browser", "headless_shell", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("no Chromium is in the PATH; install it (on Debian: apt-get install chromium), or name it in %s", chromiumVariable)
	return ""
}

// TestPageInABrowser looks at the operator's page of a broker with traffic, through the command
// that brings the page to a browser.
func TestPageInABrowser(t *testing.T) {
	path := chromium(t)
	b := harness.NewBroker(t, commands, "SEND_RATE_PER_MIN=1000000", "SEND_BURST=1000000")
	b.Start()
	team := newTeam(t, b)
	browser := openBrowser(t, path)
	url := bringPage(t, b)
	browser.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(url))

	team.talk(7)
	await.Until(t, "the page is live and shows the messages", func() bool {
		return browser.text("#link") == "Live" && browser.text("#flow [data-name=deliveries]") == "7"
	}, func() string { return browser.text("body") })
	if n := browser.number(`document.querySelectorAll("#sessions tbody tr").length`); n != float64(len(team.sessions)) {
		t.Errorf("%g sessions are on the page, want %d", n, len(team.sessions))
	}
	if name := browser.text("#sessions tbody th"); strings.Contains(name, "\u202e") {
		t.Errorf("a session is called %q", name)
	}
	testKeyboard(t, browser, team)
	testWidths(t, browser)
	browser.takeScreenshots(team)
	browser.withoutScripts(url, team)
	for _, problem := range browser.reported() {
		t.Errorf("the browser reports: %s", problem)
	}
}

// testKeyboard checks that the first tab leads to the content, and that what has the focus keeps it
// when the page changes.
func testKeyboard(t *testing.T, browser *browser, team *team) {
	t.Helper()
	browser.do(chromedp.KeyEvent(kb.Tab))
	if to := browser.script(`document.activeElement.getAttribute("href")`); to != "#main" {
		t.Errorf("the first tab leads to %v", to)
	}
	browser.do(chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Tab))
	const focused = `document.activeElement.getAttribute("aria-label")`
	if label := browser.script(focused); label != "Brokers" {
		t.Errorf("the tab after the link leads to %v", label)
	}
	before := browser.text("#flow [data-name=deliveries]")
	team.talk(3)
	await.Until(t, "the page has changed", func() bool { return browser.text("#flow [data-name=deliveries]") != before })
	if label := browser.script(focused); label != "Brokers" {
		t.Errorf("after a change, the focus is at %v", label)
	}
}

// testWidths checks that neither the page nor anything on it is wider than the screen, and that a
// screen reader finds the same tables on every screen, though the rows look like cards on a phone.
func testWidths(t *testing.T, browser *browser) {
	t.Helper()
	const (
		wide    = `[...document.querySelectorAll(".scroll, nav, nav ul")].filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel ?? "the links to the sections").join(", ")`
		covered = `[...document.querySelectorAll("nav a")].filter(a => {
			document.querySelector(a.hash).scrollIntoView({behavior: "instant"})
			return document.querySelector(a.hash + " h2").getBoundingClientRect().top < document.querySelector("nav").getBoundingClientRect().bottom
		}).map(a => a.textContent).join(", ")`
	)
	browser.script(`events.close()`) // no row comes or goes meanwhile
	defer browser.script(`visible()`)
	var first map[string]int
	for _, width := range []int64{320, 375, 390, 480, 768, 1280, 1920} {
		browser.do(chromedp.EmulateViewport(width, 900))
		if over := browser.number(`document.documentElement.scrollWidth - innerWidth`); over > 0 {
			t.Errorf("the page is %g pixels too wide for a screen of %d", over, width)
		}
		if found := browser.script(wide); found != "" {
			t.Errorf("on a screen of %d pixels, these scroll sideways: %s", width, found)
		}
		if sections := browser.script(covered); sections != "" {
			t.Errorf("on a screen of %d pixels, the links to the sections cover the headings of %s", width, sections)
		}
		roles := browser.tableRoles()
		if first == nil {
			first = roles
		}
		if !maps.Equal(roles, first) || roles["cell"] == 0 || roles["columnheader"] == 0 || roles["rowheader"] == 0 {
			t.Errorf("a screen reader finds %v on a screen of %d pixels, and %v on the smallest", roles, width, first)
		}
	}
}

// bringPage runs the page command and returns the page's URL.
func bringPage(t *testing.T, b *harness.Broker) string {
	t.Helper()
	cmd := exec.Command(commands.Caddy, "claudemesh", "page", "--listen", "127.0.0.1:0", "--config", b.Config, "--adapter", "caddyfile")
	cmd.Dir, cmd.Env = b.Home, b.Env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url := regexp.MustCompile(`http://\S+`).FindString(lines.Text()); strings.HasPrefix(lines.Text(), "The page is at ") {
			return url
		}
	}
	t.Fatal("the command doesn't say where the page is")
	return ""
}

// browser is a Chromium with one page.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

func openBrowser(t *testing.T, path string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses a sandbox to root
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatal(err)
	}
	return b
}

// note keeps what the browser reports, such as a breach of the content security policy.
func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *cdplog.EventEntryAdded:
		b.problems = append(b.problems, e.Entry.Text)
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, e.ExceptionDetails.Text)
	}
}

func (b *browser) reported() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) script(expression string) any {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

func (b *browser) number(expression string) float64 {
	b.t.Helper()
	n, ok := b.script(expression).(float64)
	if !ok {
		b.t.Fatalf("%s is not a number", expression)
	}
	return n
}

// text returns the text of an element, or "" if there is none.
func (b *browser) text(selector string) string {
	b.t.Helper()
	text, _ := b.script(fmt.Sprintf(`document.querySelector(%q)?.textContent.trim() ?? ""`, selector)).(string)
	return text
}

// tableRoles counts the tables, rows, headers and cells of the accessibility tree.
func (b *browser) tableRoles() map[string]int {
	b.t.Helper()
	roles := map[string]int{"table": 0, "row": 0, "columnheader": 0, "rowheader": 0, "cell": 0}
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		tree, err := cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		for _, node := range tree.Nodes {
			if node.Ignored || node.Role == nil {
				continue
			}
			role := strings.Trim(string(node.Role.Value), `"`)
			if _, counted := roles[role]; counted {
				roles[role]++
			}
		}
		return err
	}))
	return roles
}

func (b *browser) scheme(name string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
		})
		return err
	}))
}

// takeScreenshots saves screenshots in the directory that screenshotsVariable
// names, if it is set.
func (b *browser) takeScreenshots(team *team) {
	b.t.Helper()
	dir := os.Getenv(screenshotsVariable)
	if dir == "" {
		return
	}
	b.script(`document.activeElement.blur(), scrollTo({top: 0, behavior: "instant"})`) // what has the focus has a frame

	for range 20 { // traffic for the curves
		team.talk(40)
		time.Sleep(time.Second / 2)
	}
	for name, width := range map[string]int64{"light": 1280, "dark": 1280, "tablet-light": 768, "phone-light": 390, "phone-dark": 390, "small-light": 320, "wide-dark": 1920} {
		b.scheme(name[strings.LastIndex(name, "-")+1:])
		b.do(chromedp.EmulateViewport(width, 900, chromedp.EmulateScale(2)))
		b.save(filepath.Join(dir, "page-"+name+".png"))
	}
}

// save saves a screenshot of the whole page.
func (b *browser) save(path string) {
	b.t.Helper()
	image, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, image, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// withoutScripts checks that the page renews itself with JavaScript off.
func (b *browser) withoutScripts(url string, team *team) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}), chromedp.Navigate(url))
	shown := func() string {
		html, err := chromedp.Run(b.ctx, chromedp.OuterHTML("#flow"))
		if err != nil {
			return "" // between two pages
		}
		return regexp.MustCompile(`"deliveries" value="(\d+)"`).FindString(html)
	}
	before := ""
	await.Until(b.t, "the page is there without scripts", func() bool { before = shown(); return before != "" })
	team.talk(2)
	await.Until(b.t, "the page renews itself without scripts", func() bool { return shown() != before && shown() != "" })
}

// team is a few sessions of a mesh.
type team struct {
	t        *testing.T
	sessions []*peer.Client
	received chan struct{}
}

func newTeam(t *testing.T, b *harness.Broker) *team {
	t.Helper()
	mesh, team := newMesh(t, b), &team{t: t, received: make(chan struct{}, 1000)}
	statuses := []wire.Status{wire.Working, wire.Idle, wire.Idle, wire.Working, wire.DND}
	for i, name := range []string{"backend", "frontend", "reviewer", "release", "docs \u202egnp.exe"} {
		c := dial(t, peer.Options{
			Mesh: mesh, About: peer.About{DisplayName: name, Hostname: []string{"atlas", "borea"}[i%2]},
			OnMessage: func(context.Context, peer.Incoming) error { team.received <- struct{}{}; return nil },
		})
		if err := c.SetStatus(t.Context(), statuses[i]); err != nil {
			t.Fatal(err)
		}
		team.sessions = append(team.sessions, c)
	}
	return team
}

// talk sends so many messages and waits until they have arrived.
func (team *team) talk(messages int) {
	team.t.Helper()
	all := team.sessions
	for i := range messages {
		m := to(all[(i+1)%len(all)].Pubkey())
		m.Priority = wire.Now // some are busy
		if _, err := all[i%len(all)].Send(team.t.Context(), m); err != nil {
			team.t.Fatal(err)
		}
	}
	for range messages {
		select {
		case <-team.received:
		case <-time.After(await.Patience):
			team.t.Fatal("a message has not arrived")
		}
	}
}
