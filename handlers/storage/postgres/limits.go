package postgres

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// longestWait is the wait that Take reports when no token will ever come.
const longestWait = 24 * time.Hour

// take is one caller's Take.
type take struct {
	bucket storage.Bucket
	now    time.Time
	wait   time.Duration
}

const takingToken = "taking a token"

// Take takes a token from a bucket, which all nodes share.
func (s *Store) Take(ctx context.Context, b storage.Bucket, now time.Time) (time.Duration, error) {
	t := &take{bucket: b, now: now.Round(0)}
	if err := write(ctx, s, &s.takes, takingToken, t); err != nil {
		return 0, err
	}
	return t.wait, nil
}

// filled is what a bucket holds that is brought to excluded.at. A clock that
// went back neither adds nor takes away.
const filled = `least(b.tokens + greatest(excluded.at - b.at, 0)::float8 / 1e9 * excluded.per_second, excluded.capacity)`

// takeTokens takes several tokens from each of several buckets. The millionth
// forgives the rounding of floating point, so that a caller who asks again after
// exactly the wait that it was told finds its token.
const takeTokens = `INSERT INTO signpost.bucket AS b (key, tokens, at, capacity, per_second, asked, granted)
	SELECT key, greatest(capacity - granted, 0), at, capacity, per_second, asked, granted FROM (
		SELECT *, least(asked, floor(capacity + 1e-6))::int AS granted
		FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::float8[], $5::int[]) AS u (key, at, capacity, per_second, asked)
	) AS v ORDER BY key
	ON CONFLICT (key) DO UPDATE SET (tokens, granted) = (
			SELECT greatest(f - g, 0), g FROM (SELECT f, least(excluded.asked, floor(f + 1e-6))::int AS g FROM (SELECT ` + filled + ` AS f) AS x) AS y
		), at = excluded.at, capacity = excluded.capacity, per_second = excluded.per_second, asked = excluded.asked
	RETURNING key, granted, tokens`

// runTakes serves those who ask for one bucket at the same time in their order.
func (s *Store) runTakes(ctx context.Context, timeout time.Duration, batch []*op[*take]) {
	byKey := map[string][]*op[*take]{}
	for _, o := range batch {
		k := asText(o.arg.bucket.Key)
		byKey[k] = append(byKey[k], o)
	}
	keys, at := make([]string, 0, len(byKey)), make([]int64, 0, len(byKey))
	capacity, perSecond := make([]float64, 0, len(byKey)), make([]float64, 0, len(byKey))
	asked := make([]int32, 0, len(byKey))
	for k, ops := range byKey {
		last := slices.MaxFunc(ops, func(a, b *op[*take]) int { return a.arg.now.Compare(b.arg.now) }).arg
		keys, at = append(keys, k), append(at, last.now.UnixNano())
		capacity, perSecond = append(capacity, max(last.bucket.Capacity, 0)), append(perSecond, max(last.bucket.PerSecond, 0))
		asked = append(asked, int32(len(ops))) //nolint:gosec // at most maxBatch
	}
	err := s.attempt(ctx, takingToken, timeout, func(ctx context.Context, c conn) error {
		rows, err := c.Query(ctx, takeTokens, keys, at, capacity, perSecond, asked)
		if err != nil {
			return err
		}
		var key string
		var granted int
		var tokens float64
		_, err = pgx.ForEachRow(rows, []any{&key, &granted, &tokens}, func() error {
			for i, o := range byKey[key] {
				if o.arg.wait = 0; i >= granted {
					o.arg.wait = o.arg.until(tokens)
				}
			}
			return nil
		})
		return err
	}, again)
	fail(batch, err)
}

// until returns how long it takes a bucket with less than one token to have one.
func (t *take) until(tokens float64) time.Duration {
	if t.bucket.PerSecond <= 0 || t.bucket.Capacity < 1 {
		return longestWait
	}
	seconds := (1 - tokens) / t.bucket.PerSecond
	if seconds >= longestWait.Seconds() {
		return longestWait
	}
	return max(time.Duration(math.Ceil(seconds*float64(time.Second))), 1)
}

// GiveBack returns a token to a bucket.
func (s *Store) GiveBack(ctx context.Context, b storage.Bucket, now time.Time) error {
	return s.call(ctx, "giving a token back", func(ctx context.Context, c conn) error {
		_, err := c.Exec(ctx, `UPDATE signpost.bucket SET at = $2, capacity = $3, per_second = $4,
			tokens = least(least(tokens + greatest($2 - at, 0)::float8 / 1e9 * $4, $3) + 1, $3) WHERE key = $1`,
			asText(b.Key), now.UnixNano(), max(b.Capacity, 0), max(b.PerSecond, 0))
		return err
	})
}

// Counter returns the value of a limit's counter.
func (s *Store) Counter(ctx context.Context, key string) (v int64, err error) {
	err = s.read(ctx, "reading a counter", func(ctx context.Context, c conn) error {
		err := c.QueryRow(ctx, `SELECT value FROM signpost.counter WHERE key = $1`, asText(key)).Scan(&v)
		if errors.Is(err, pgx.ErrNoRows) {
			v, err = 0, nil
		}
		return err
	})
	return v, err
}

// replay is one caller's Remember.
type replay struct {
	service      string
	bytes        []byte
	now, expires int64
	first        bool
}

func (r *replay) key() string { return r.service + "\x00" + string(r.bytes) }

const storingReplay = "storing a replay key"

// Remember stores a replay key.
func (s *Store) Remember(ctx context.Context, k storage.ReplayKey, now time.Time) (bool, error) {
	r := &replay{service: asText(k.ServiceID), bytes: k.Key, now: asMicro(now), expires: asMicro(k.ExpiresAt)}
	if r.bytes == nil {
		r.bytes = []byte{}
	}
	if err := write(ctx, s, &s.replays, storingReplay, r); err != nil {
		return false, err
	}
	return r.first, nil
}

func (s *Store) runReplays(ctx context.Context, timeout time.Duration, batch []*op[*replay]) {
	slices.SortFunc(batch, func(a, b *op[*replay]) int { // so that two nodes can't wait for each other
		return cmp.Or(cmp.Compare(a.arg.service, b.arg.service), slices.Compare(a.arg.bytes, b.arg.bytes))
	})
	services, keys := make([]string, len(batch)), make([][]byte, len(batch))
	now, expires := make([]int64, len(batch)), make([]int64, len(batch))
	byKey := map[string]*replay{}
	for i, o := range batch {
		services[i], keys[i], now[i], expires[i] = o.arg.service, o.arg.bytes, o.arg.now, o.arg.expires
		byKey[o.arg.key()] = o.arg
	}
	err := s.attempt(ctx, storingReplay, timeout, func(ctx context.Context, c conn) error {
		rows, err := c.Query(ctx, `INSERT INTO signpost.replay AS r (service_id, key, seen_at, expires_at)
			SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[])
			ON CONFLICT (service_id, key) DO UPDATE SET seen_at = excluded.seen_at, expires_at = excluded.expires_at
			WHERE r.expires_at < excluded.seen_at RETURNING service_id, key`, services, keys, now, expires)
		if err != nil {
			return err
		}
		var r replay
		_, err = pgx.ForEachRow(rows, []any{&r.service, &r.bytes}, func() error {
			byKey[r.key()].first = true
			return nil
		})
		return err
	}, again)
	fail(batch, err)
}
