package tests

import (
	"testing"

	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// onBoth runs a test with a broker on SQLite and, in parallel, with one on Postgres.
func onBoth(t *testing.T, env []string, test func(t *testing.T, s *server)) {
	t.Helper()
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, startServer(t, env...))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, startServer(t, append([]string{"DATABASE_URL=" + pgtest.DSN(t)}, env...)...))
	})
}

// scenario is a test that shares a broker with other scenarios.
type scenario struct {
	name string
	run  func(t *testing.T, s *server)
}

// scenariosOnBoth runs scenarios in parallel, on one broker per database.
func scenariosOnBoth(t *testing.T, env []string, scenarios []scenario) {
	t.Helper()
	onBoth(t, env, func(t *testing.T, s *server) {
		for _, sc := range scenarios {
			t.Run(sc.name, func(t *testing.T) {
				t.Parallel()
				sc.run(t, s)
			})
		}
	})
}
