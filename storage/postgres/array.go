package postgres

import (
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

// id is a uuid on its way to Postgres.
type id = pgtype.UUID

func uuid(v wire.ID) id { return id{Bytes: v, Valid: true} }

// each makes a column of a list of rows, for unnest.
func each[R, T any](rows []R, value func(R) T) []T {
	column := make([]T, len(rows))
	for i, row := range rows {
		column[i] = value(row)
	}
	return column
}

// counting adds up the rows that a statement of a pipeline changed.
func counting(n *int64) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		*n += tag.RowsAffected()
		return nil
	}
}

// scanID reads a row that is an id.
func scanID(r column.Row) (id wire.ID, err error) {
	err = r.Scan(column.IntoID(&id))
	return id, err
}
