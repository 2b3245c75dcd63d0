package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage"
)

// TestCandidateForAMigration checks that operators see a broker that waits before a migration, because a
// running broker could not work with the new schema.
func TestCandidateForAMigration(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	joined(t, dsn, "a:1")
	execute(t, dsn, `UPDATE claudemesh.nodes SET knows_schema = 1;
		DELETE FROM claudemesh.schema_version WHERE version = (SELECT max(version) FROM claudemesh.schema_version)`)
	operator, waits := open(t, dsn), open(t, dsn)
	defer operator.Close()
	defer waits.Close()
	if err := waits.Migrate(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Fatalf("migrate: %v, want ErrInUse", err)
	}
	list, err := operator.Candidates(t.Context())
	if err != nil || len(list) != 1 || !strings.Contains(list[0].Reason, "the schema must be changed to version") {
		t.Errorf("candidates %+v, %v; want one that waits for a migration", list, err)
	}
	if err := waits.Close(); err != nil {
		t.Fatal(err)
	}
	if list, err := operator.Candidates(t.Context()); len(list) > 0 || err != nil {
		t.Errorf("candidates after the end of the one that waited: %+v, %v", list, err)
	}
}
