package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// transaction runs statements in two steps, each one exchange with the server:
// lock adds those that lock and read, write those that follow from them. When
// write adds none, nothing is committed.
func transaction(ctx context.Context, c conn, lock func(b *pgx.Batch), write func(b *pgx.Batch) error) (err error) {
	begun := false
	defer func() {
		if err != nil && begun {
			// Failing that, the pool drops the connection.
			_, _ = c.Exec(ctx, "ROLLBACK") //nolint:errcheck // see above
		}
	}()
	first := &pgx.Batch{}
	first.Queue("BEGIN")
	lock(first)
	begun = true
	if err := c.SendBatch(ctx, first).Close(); err != nil {
		return err
	}
	second := &pgx.Batch{}
	if err := write(second); err != nil {
		return err
	}
	if second.Len() == 0 {
		second.Queue("ROLLBACK")
	} else {
		second.Queue("COMMIT")
	}
	return c.SendBatch(ctx, second).Close()
}
