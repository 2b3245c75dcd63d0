package pgtest

import "testing"

func TestFailover(t *testing.T) {
	t.Parallel()
	a, b := Start(t, Durable()), Start(t, Durable())
	dsn := DSNOfPair(a, b)
	a.Exec("CREATE TABLE things (n integer)")
	b.Follow(a)
	for i, pair := range [][2]*Server{{a, b}, {b, a}} {
		primary, standby := pair[0], pair[1]
		primary.Exec("INSERT INTO things VALUES (1)")
		primary.Kill()
		standby.Promote()
		var n int
		if err := mustConnect(t, dsn).QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&n); err != nil || n != i+1 {
			t.Errorf("after failover %d: %d rows, %v", i+1, n, err)
		}
		primary.Follow(standby)
	}
	if _, err := mustConnect(t, b.DSN()).Exec(t.Context(), "INSERT INTO things VALUES (1)"); err == nil {
		t.Error("a standby can be written")
	}
}
