package copy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

// Pair is a table on both sides.
type Pair struct {
	Table    string
	From, To int64 // rows
	// Differ says that the rows aren't the same, or when only counts were asked
	// for, their number.
	Differ bool
}

// Comparison is how a target stands to a source.
type Comparison struct {
	Tables []Pair
	// Live says that the source is in use.
	Live bool
	// Follows says that the target holds a copy of this source, and Waits that
	// it mustn't be used before another copy is made.
	Follows, Waits bool
}

// Same reports whether there is no difference.
func (c Comparison) Same() bool {
	for _, t := range c.Tables {
		if t.Differ {
			return false
		}
	}
	return true
}

// Compare compares the numbers of rows, and when rows is set, the rows
// themselves: all values but the secrets, which must open under the keys (those
// in settings are values that differ when they are sealed again). It
// changes nothing. A target that doesn't exist yet has no rows; with rows set it
// is refused, and so is one that waits for its last copy.
func Compare(ctx context.Context, cfg Config, rows bool) (c Comparison, err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return c, err
	}
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	from, err := cfg.From.source(ctx, false)
	if err != nil {
		return c, fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, from.close()) }()
	to, err := cfg.To.existing(ctx)
	if err != nil {
		return c, fmt.Errorf("the target: %w", err)
	}
	c.Live = from.live()
	if to != nil {
		defer func() { err = errors.Join(err, to.close()) }()
		if err := c.stand(ctx, from, to); err != nil {
			return c, err
		}
	}
	switch {
	case !rows:
		c.Tables, err = compareCounts(ctx, from, to)
	case to == nil:
		err = errors.New("there is no target: copy first")
	case c.Waits:
		err = errors.New("the target waits for its last copy: stop the nodes on the source, and copy again")
	default:
		c.Tables, err = compareRows(ctx, cfg, from, to)
	}
	return c, err
}

// stand sets what the target's mark says.
func (c *Comparison) stand(ctx context.Context, from, to source) error {
	identity, err := from.identity(ctx)
	if err != nil {
		return err
	}
	own, err := to.identity(ctx)
	if err != nil {
		return err
	}
	m, err := to.mark(ctx)
	if err != nil {
		return err
	}
	if own == identity {
		return ErrSameDatabase
	}
	c.Follows = m != nil && m.Source == identity
	c.Waits = c.Follows && m.Live
	return nil
}

// existing opens a target for reading; nil when there is none.
func (p Place) existing(ctx context.Context) (source, error) {
	if p.SQLite != nil {
		if _, err := os.Stat(p.SQLite.Path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		a, err := sqlite.AttachSource(ctx, *p.SQLite, false)
		if err != nil {
			return nil, err
		}
		return openSQLite(ctx, a, false)
	}
	a, err := postgres.Attach(ctx, *p.Postgres)
	if err != nil {
		return nil, err
	}
	if a.Schema == 0 {
		return nil, a.Close()
	}
	if err := currentSchema(a); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return openPostgres(ctx, a, p.Postgres.SecretsKey, oneMoment, "")
}

func compareCounts(ctx context.Context, from, to source) ([]Pair, error) {
	out := make([]Pair, len(tables))
	for i, t := range tables {
		out[i].Table = t.name
		var err error
		if out[i].From, err = from.count(ctx, t, nil); err != nil {
			return nil, err
		}
		if to != nil {
			if out[i].To, err = to.count(ctx, t, nil); err != nil {
				return nil, err
			}
		}
		out[i].Differ = out[i].From != out[i].To
	}
	return out, nil
}

func compareRows(ctx context.Context, cfg Config, from, to source) ([]Pair, error) {
	out, err := compareCounts(ctx, from, to)
	if err != nil {
		return nil, err
	}
	var p Progress
	for _, o := range out {
		p.AllTotal += o.From + o.To
	}
	for i, t := range tables {
		p.Table, p.Done, p.Rows = t.name, 0, out[i].From+out[i].To
		var sides [2]digest
		for j, s := range []source{from, to} {
			if err := s.read(ctx, t, nil, func(row []any) error {
				if p.Done%batchRows == 0 {
					cfg.Progress(p)
				}
				p.Done++
				p.AllDone++
				if open := secretsOf[t.name]; open != nil {
					if err := open(cfg, s, row); err != nil {
						return err
					}
				}
				sides[j].add(row[:len(t.columns)])
				return nil
			}); err != nil {
				return nil, fmt.Errorf("reading %s: %w", t.name, err)
			}
		}
		out[i].Differ = sides[0] != sides[1]
		cfg.Progress(p)
	}
	return out, nil
}

// secretsOf are the tables with secrets.
var secretsOf = map[string]func(cfg Config, s source, row []any) error{"api_key": secretOpens, "service": settingsOpen}

// secretOpens checks a key's secret, and removes it: sealed, it is never twice
// the same.
func secretOpens(cfg Config, s source, row []any) error {
	k, err := apiKey(row)
	if err != nil {
		return err
	}
	if _, err := cfg.Reseal(k, s.sealer(), s.sealer()); err != nil {
		return fmt.Errorf("the API key %q of service %s: %w", k.Name, k.ServiceID, err)
	}
	row[secret] = nil
	return nil
}

// settingsOpen checks the secrets in a service's settings, and leaves what isn't
// one.
func settingsOpen(cfg Config, s source, row []any) error {
	before, _ := row[secret].([]byte)
	after, err := cfg.settings(row, s.sealer(), s.sealer())
	if err != nil {
		return err
	}
	row[secret] = nil
	var a, b any
	if len(after) == 0 || json.Unmarshal(before, &a) != nil || json.Unmarshal(after, &b) != nil {
		return nil
	}
	row[secret], err = json.Marshal(common(a, b))
	return err
}

// common returns what two JSON values have in common.
func common(a, b any) any {
	switch a := a.(type) {
	case map[string]any:
		if b, ok := b.(map[string]any); ok {
			for k, v := range a {
				a[k] = common(v, b[k])
			}
			return a
		}
	case []any:
		if b, ok := b.([]any); ok && len(a) == len(b) {
			for i, v := range a {
				a[i] = common(v, b[i])
			}
			return a
		}
	default:
		if a == b {
			return a
		}
	}
	return nil
}

// digest is the sum of rows' hashes, so that their order doesn't matter.
type digest [4]uint64

func (d *digest) add(row []any) {
	var b []byte
	for _, v := range row {
		switch v := v.(type) {
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v)) //nolint:gosec // its bits
		case string:
			b = append(binary.AppendUvarint(append(b, 't'), uint64(len(v))), v...)
		case []byte:
			if len(v) == 0 { // a driver makes nil of it
				b = append(b, '-')
				continue
			}
			b = append(binary.AppendUvarint(append(b, 'b'), uint64(len(v))), v...)
		default:
			b = append(b, '-')
		}
	}
	sum := sha256.Sum256(b)
	for i := range d {
		d[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
}
