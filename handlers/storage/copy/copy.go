package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

// Config says from where to where.
type Config struct {
	// From is the source. It must exist. It isn't written to, except that a
	// SQLite database which nobody uses is brought to this program's schema.
	From Place
	// To is the target. It is made where it can be, and migrated. It must be
	// empty or follow this source, and no node may run on it.
	To Place
	// Reseal returns the secret of an API key, which is sealed under the
	// source's secrets key, sealed under the target's. Required.
	Reseal func(k storage.APIKey, from, to *storage.Sealer) ([]byte, error)
	// ResealSettings does the same for the settings of a service. Required where
	// services have any.
	ResealSettings func(serviceID string, settings []byte, from, to *storage.Sealer) ([]byte, error)
	// Progress is told now and then how far a table has come; optional. It is
	// called by one goroutine.
	Progress func(Progress)
	// Now is the clock by which expired rows are looked for. Default: time.Now.
	Now func() time.Time
}

// Place is one database: exactly one of its fields is set.
type Place struct {
	SQLite   *sqlite.Config
	Postgres *postgres.Config
}

// Progress is how far the copy has come.
type Progress struct {
	Table             string
	Done, Rows        int64 // of the table
	AllDone, AllTotal int64
}

// Count is what has become of a table.
type Count struct {
	Table   string
	Rows    int64 // in the source, and in the target
	Written int64 // by this copy
}

// Result is what a copy has done.
type Result struct {
	// Counts are those of the tables, in the order in which they were copied.
	Counts []Count
	// Live says that the source is in use: what changes after the copy's moment
	// isn't in the target, which mustn't be used yet.
	Live bool
	// Followed says that the target held an earlier copy, and that only
	// differences were written.
	Followed bool
	// Anew says that the differences that were found didn't explain the counts,
	// so that everything was copied again.
	Anew bool
}

// The reasons for which a target is refused.
var (
	ErrOtherSource = errors.New("the target was filled from another source: copy into a new database")
	ErrUsed        = errors.New("the target has been used since it was filled: copy into a new database, " +
		"or go on with it if the move is done")
	ErrSameDatabase = errors.New("source and target are the same database")
	ErrNodes        = errors.New("nodes of Signpost run on the target: stop them, and start them when the copy is complete")
)

// NotEmptyError says that the target has data that no copy has brought.
type NotEmptyError struct {
	Table string
	Rows  int64
	Hint  string // how the target is emptied
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("the target isn't empty: its table %s has %d rows; copy into a new database, or remove what is there%s",
		e.Table, e.Rows, e.Hint)
}

// sweepMargin is how much later than here a clock of the nodes may be: a row
// that expires after it can't have been swept yet. Only what it costs depends
// on it, since counts that don't agree lead to a full copy.
const sweepMargin = time.Hour

// Run copies.
func Run(ctx context.Context, cfg Config) (out Result, err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return out, err
	}
	defer func() { err = interrupted(ctx, err) }()
	from, err := cfg.From.source(ctx, true)
	if err != nil {
		return out, fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, from.close()) }()
	to, err := cfg.To.target(ctx)
	if err != nil {
		return out, fmt.Errorf("the target: %w", err)
	}
	defer func() { err = errors.Join(err, to.close()) }()
	r := &run{cfg: cfg, from: from, to: to}
	if err := r.copy(ctx); err != nil {
		return out, err
	}
	return r.result, nil
}

func (c Config) complete() (Config, error) {
	if c.Reseal == nil {
		return c, errors.New("copy: Reseal is required")
	}
	for _, p := range []Place{c.From, c.To} {
		if (p.SQLite == nil) == (p.Postgres == nil) {
			return c, errors.New("copy: source and target are each one of SQLite and Postgres")
		}
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// interrupted says so when that is why there is an error: what a driver makes of
// it differs.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("interrupted, and the target is as it was before: %w", context.Cause(ctx))
}

// run is one copy.
type run struct {
	cfg      Config
	from     source
	to       target
	held     []int64
	result   Result
	progress Progress
}

func (r *run) copy(ctx context.Context) error {
	identity, delta, err := r.begin(ctx)
	if err != nil {
		return err
	}
	r.result.Live, r.result.Followed = r.from.live(), delta != nil
	if err := r.tables(ctx, delta); err != nil {
		return err
	}
	sums, err := r.verify(ctx)
	if _, ok := errors.AsType[*mismatchError](err); ok && delta != nil {
		r.result.Anew = true
		if err := r.tables(ctx, nil); err != nil {
			return err
		}
		sums, err = r.verify(ctx)
	}
	if err != nil {
		return err
	}
	numbers, err := r.from.numbers(ctx)
	if err != nil {
		return fmt.Errorf("reading the source's numbers: %w", err)
	}
	if err := r.to.finish(ctx, numbers, sums); err != nil {
		return fmt.Errorf("setting what follows from the rows: %w", err)
	}
	m := mark{Source: identity, Live: r.result.Live, Held: r.held}
	if m.Settled, err = r.from.settled(ctx); err != nil {
		return err
	}
	if m.Used, err = r.to.used(ctx); err != nil {
		return err
	}
	if err := r.to.setMark(ctx, m); err != nil {
		return fmt.Errorf("marking the target: %w", err)
	}
	if err := r.to.commit(ctx); err != nil {
		return fmt.Errorf("committing the copy: %w", err)
	}
	r.to.tidy(ctx, r.result.Live)
	return nil
}

// begin refuses a target that can't be meant, and says what is to be copied into
// it: everything when that is nil.
func (r *run) begin(ctx context.Context) (identity string, d *delta, err error) {
	if identity, err = r.from.identity(ctx); err != nil {
		return "", nil, err
	}
	own, err := r.to.identity(ctx)
	if err != nil {
		return "", nil, err
	}
	if own == identity {
		return "", nil, ErrSameDatabase
	}
	m, err := r.to.mark(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("reading the target's mark: %w", err)
	}
	if m == nil {
		for _, t := range tables {
			switch n, err := r.to.count(ctx, t, nil); {
			case err != nil:
				return "", nil, err
			case n > 0:
				return "", nil, &NotEmptyError{t.name, n, r.to.hint()}
			}
		}
		return identity, nil, nil
	}
	if m.Source != identity {
		return "", nil, ErrOtherSource
	}
	used, err := r.to.used(ctx)
	if err != nil {
		return "", nil, err
	}
	if used != m.Used {
		return "", nil, ErrUsed
	}
	return identity, &delta{after: m.Settled, expired: r.cfg.Now().Add(sweepMargin).UnixMicro(), ids: m.Held}, nil
}

// tables copies one table after the other: what delta says of those that may be
// large, and all of the others.
func (r *run) tables(ctx context.Context, d *delta) error {
	parts := make([]*delta, len(tables))
	if d != nil {
		flying, err := r.to.flying(ctx)
		if err != nil {
			return fmt.Errorf("reading what is in flight in the target: %w", err)
		}
		d.ids = append(d.ids, flying...)
	}
	counts := make([]Count, len(tables))
	r.progress, r.held = Progress{}, nil
	for i, t := range tables {
		if t.large {
			parts[i] = d
		}
		n, err := r.from.count(ctx, t, parts[i])
		if err != nil {
			return fmt.Errorf("counting %s in the source: %w", t.name, err)
		}
		counts[i] = Count{Table: t.name, Written: n}
		r.progress.AllTotal += n
	}
	if r.result.Followed {
		for i, t := range slices.Backward(tables) { // what refers to others first
			if err := r.to.remove(ctx, t, parts[i]); err != nil {
				return fmt.Errorf("removing what has changed of %s in the target: %w", t.name, err)
			}
		}
	}
	for i, t := range tables {
		r.progress.Table, r.progress.Done, r.progress.Rows = t.name, 0, counts[i].Written
		if err := r.table(ctx, t, parts[i]); err != nil {
			return fmt.Errorf("copying %s: %w", t.name, err)
		}
	}
	r.result.Counts = counts
	return nil
}

const (
	// A batch of rows is written at once.
	batchRows  = 2000
	batchBytes = 8 << 20
)

func (r *run) table(ctx context.Context, t *table, d *delta) error {
	r.cfg.Progress(r.progress)
	var batch [][]any
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := r.to.insert(ctx, t, batch, d != nil)
		r.progress.Done += int64(len(batch))
		r.progress.AllDone += int64(len(batch))
		r.cfg.Progress(r.progress)
		batch, size = batch[:0], 0
		return err
	}
	if err := r.from.read(ctx, t, d, func(row []any) error {
		if t.change != nil {
			if err := t.change(r, row); err != nil {
				return err
			}
		}
		batch = append(batch, row)
		if size += sizeOf(row); len(batch) < batchRows && size < batchBytes {
			return nil
		}
		return flush()
	}); err != nil {
		return err
	}
	return flush()
}

func sizeOf(row []any) (n int) {
	for _, v := range row {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

// mismatchError says that the target isn't what the source is.
type mismatchError struct{ what string }

func (e *mismatchError) Error() string { return e.what }

// verify compares the counts of all tables, and of the notifications those by
// service and state, which it returns.
func (r *run) verify(ctx context.Context) (have sums, err error) {
	var want sums
	both, inner := errgroup.WithContext(ctx) // the longest part of a copy that follows
	both.Go(func() (err error) { want, err = r.from.sums(inner); return err })
	both.Go(func() (err error) { have, err = r.to.sums(inner); return err })
	if err := both.Wait(); err != nil {
		return nil, fmt.Errorf("counting notifications: %w", err)
	}
	if err := want.compare(have); err != nil {
		return nil, err
	}
	for i, t := range tables {
		if t.name == "notification" {
			r.result.Counts[i].Rows = have.all()
			continue
		}
		have, err := r.to.count(ctx, t, nil)
		if err != nil {
			return nil, fmt.Errorf("counting %s in the target: %w", t.name, err)
		}
		want, err := r.from.count(ctx, t, nil)
		if err != nil {
			return nil, fmt.Errorf("counting %s in the source: %w", t.name, err)
		}
		if have != want {
			return nil, &mismatchError{fmt.Sprintf("the counts don't agree: %s has %d rows in the source, and %d in the target", t.name, want, have)}
		}
		r.result.Counts[i].Rows = have
	}
	return have, nil
}
