package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
)

// reload reloads Caddy's config with alternating limits. No connection must end.
func reload(w *world) {
	w.serve()
	w.populate()
	w.load()
	env := w.broker.Env
	w.repeat(func(n int) {
		w.broker.Env = append(slices.Clone(env), fmt.Sprint("SEND_BURST=", 1_000_000+n))
		if out, code := w.broker.RunCaddy("reload", "--config", w.broker.Config, "--adapter", "caddyfile"); code != 0 {
			w.t.Fatalf("reload: %s", out)
		}
	})
	for _, a := range w.raw {
		if n := a.visits.Load(); n != 1 {
			w.t.Errorf("%s had to connect %d times", a.name, n)
		}
	}
}

// upgrade stops the broker and starts another build of it, like an operator.
func upgrade(w *world) {
	builds := []string{upgraded(w), commands.Caddy}
	w.serve()
	w.populate()
	w.load()
	version := w.version()
	w.repeat(func(n int) {
		w.install(builds[n%len(builds)])
		w.broker.Stop()
		w.broker.Start()
		before := version
		if version = w.version(); version == before {
			w.t.Errorf("the version is still %s", version)
		}
	})
}

// install replaces the broker's program with another build.
func (w *world) install(build string) {
	w.t.Helper()
	next := w.caddy + ".next"
	w.check(os.Symlink(build, next))
	w.check(os.Rename(next, w.caddy))
}

// version returns the version that the broker reports.
func (w *world) version() string {
	w.t.Helper()
	var health struct{ Version string }
	_, text := w.broker.TryGet("/health")
	w.check(json.Unmarshal([]byte(text), &health))
	return health.Version
}

// upgraded returns the path of another build of the broker.
func upgraded(w *world) string {
	w.t.Helper()
	path, err := buildUpgrade()
	w.check(err)
	return path
}

// buildUpgrade builds the broker with another version, once per run.
var buildUpgrade = sync.OnceValues(func() (string, error) { return commands.Again("upgraded") })
