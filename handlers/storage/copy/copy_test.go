//go:build unix

package copy_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // as a driver of database/sql
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/copy"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

const (
	tenantA = "26785a09-ab16-4eb0-8407-a37497a57506"
	tenantB = "a service of the configuration"
)

var (
	start  = time.Date(2026, 11, 22, 12, 0, 0, 123_456_000, time.UTC)
	keyOne = bytes.Repeat([]byte{1}, storage.SecretsKeySize)
	keyTwo = bytes.Repeat([]byte{2}, storage.SecretsKeySize)
)

// reseal stands for that of the directory.
func reseal(k storage.APIKey, from, to *storage.Sealer) ([]byte, error) {
	plain, err := from.Open(k.Secret, k.Name)
	if err != nil {
		return nil, err
	}
	return to.Seal(plain, k.Name), nil
}

// serviceSettings stand for those that the directory keeps.
type serviceSettings struct {
	Changed  int `json:"changed"`
	Callback []struct {
		Bearer []byte `json:"bearer"`
	} `json:"callback"`
}

func settings(t *testing.T, sealer *storage.Sealer, bearer string, changed int) []byte {
	t.Helper()
	s := serviceSettings{Changed: changed, Callback: make([]struct {
		Bearer []byte `json:"bearer"`
	}, 1)}
	s.Callback[0].Bearer = sealer.Seal([]byte(bearer), tenantA)
	text, err := json.Marshal(s)
	require.NoError(t, err)
	return text
}

// openSettings returns what settings was given.
func openSettings(t *testing.T, sealer *storage.Sealer, text []byte) string {
	t.Helper()
	if text == nil {
		return ""
	}
	var s serviceSettings
	require.NoError(t, json.Unmarshal(text, &s))
	bearer, err := sealer.Open(s.Callback[0].Bearer, tenantA)
	require.NoError(t, err)
	return fmt.Sprintf("%d %s", s.Changed, bearer)
}

// resealSettings stands for that of the directory.
func resealSettings(serviceID string, text []byte, from, to *storage.Sealer) ([]byte, error) {
	var s serviceSettings
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	plain, err := from.Open(s.Callback[0].Bearer, serviceID)
	if err != nil {
		return nil, err
	}
	s.Callback[0].Bearer = to.Seal(plain, serviceID)
	return json.Marshal(s)
}

func newSQLite(t *testing.T, key []byte) copy.Place {
	t.Helper()
	return copy.Place{SQLite: &sqlite.Config{Path: filepath.Join(t.TempDir(), "signpost.db"), SecretsKey: key, OpenWait: time.Millisecond}}
}

func newPostgres(t *testing.T, key []byte) copy.Place {
	t.Helper()
	server := pgtest.Shared(t)
	name, err := server.Create(t.Context(), "")
	require.NoError(t, err)
	return copy.Place{Postgres: &postgres.Config{DSN: server.DSN(name), SecretsKey: key}}
}

func backend(p copy.Place) storage.Backend {
	if p.SQLite != nil {
		return sqlite.New(*p.SQLite)
	}
	return postgres.New(*p.Postgres)
}

// open starts a node on a place. Closing it stops the node.
func open(t *testing.T, p copy.Place) storage.Backend {
	t.Helper()
	s := backend(p)
	require.NoError(t, s.Open(t.Context()))
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// directions are the ways between two kinds of databases.
var directions = map[string]func(t *testing.T) copy.Config{
	"SQLite to PostgreSQL": func(t *testing.T) copy.Config {
		t.Helper()
		return copy.Config{From: newSQLite(t, keyOne), To: newPostgres(t, keyTwo), Reseal: reseal, ResealSettings: resealSettings}
	},
	"PostgreSQL to SQLite": func(t *testing.T) copy.Config {
		t.Helper()
		return copy.Config{From: newPostgres(t, keyOne), To: newSQLite(t, keyTwo), Reseal: reseal, ResealSettings: resealSettings}
	},
}

func eachDirection(t *testing.T, test func(t *testing.T, cfg copy.Config)) {
	t.Helper()
	for name, direction := range directions {
		t.Run(name, func(t *testing.T) { test(t, direction(t)) })
	}
}

// From one server to another.
func TestOneKind(t *testing.T) {
	testLive(t, copy.Config{From: newPostgres(t, keyOne), To: newPostgres(t, keyTwo), Reseal: reseal, ResealSettings: resealSettings})
}

// requireMoved compares a source and a target that were copied, row by row, and
// goes on with the target.
func requireMoved(t *testing.T, l *life, cfg copy.Config) {
	t.Helper()
	same, err := copy.Compare(t.Context(), cfg, true)
	require.NoError(t, err)
	require.True(t, same.Same(), same.Tables)
	source, target := open(t, cfg.From), open(t, cfg.To)
	want, got := l.look(source, keyOne), l.look(target, keyTwo)
	require.NotEmpty(t, want.Callbacks)
	require.NotEmpty(t, want.DeadLetters)
	require.NotEmpty(t, want.ByKey)
	require.NotZero(t, want.Stats.Outstanding)
	requireAll(t, want)
	require.Less(t, len(want.Notifications), len(l.uuids), "nothing was swept")
	assert.Equal(t, want, got)
	assert.Equal(t, l.replayed(source), l.replayed(target))

	// Life goes on: no id comes twice, what was held is sent again.
	highest := int64(0)
	for _, n := range want.Notifications {
		highest = max(highest, n.ID)
	}
	next := l.again(target)
	next.now = next.now.Add(5 * time.Minute)
	before := len(next.uuids)
	next.step()
	require.Len(t, next.uuids, before+4)
	page, err := target.Notifications(t.Context(), storage.Query{ServiceID: tenantA, Limit: 1})
	require.NoError(t, err)
	assert.Greater(t, page.Notifications[0].ID, highest)
	for range 10 {
		next.step()
	}
}

// requireAll checks that a life has left something of everything.
func requireAll(t *testing.T, v view) {
	t.Helper()
	require.Equal(t, "", v.Settings[1])
	require.NotEmpty(t, v.Settings[0])
	require.NotEmpty(t, v.Inbound)
	require.NotContains(t, v.ByType, 0)
	have := map[string]bool{}
	for _, n := range v.Notifications {
		have[string(n.KeyType)], have[string(n.Status)] = true, true
		have["details"] = have["details"] || n.Details.International
		have["scheduled"] = have["scheduled"] || n.Status == storage.StatusCreated && !n.Details.ScheduledFor.IsZero()
	}
	for _, template := range v.Templates {
		have["archived"] = have["archived"] || !template.ArchivedAt.IsZero()
	}
	for _, what := range []string{
		"of old", "details", "scheduled", "archived", string(storage.StatusCreated), string(storage.StatusSending),
		string(storage.StatusPending), string(storage.StatusSent), string(storage.StatusDelivered),
	} {
		require.True(t, have[what], what)
	}
}

func TestStopped(t *testing.T) {
	eachDirection(t, func(t *testing.T, cfg copy.Config) {
		source := open(t, cfg.From)
		l := newLife(t, source, keyOne)
		for range 25 {
			l.step()
		}
		require.NoError(t, source.Close())
		var seen []copy.Progress
		cfg.Progress = func(p copy.Progress) { seen = append(seen, p) }
		out, err := copy.Run(t.Context(), cfg)
		require.NoError(t, err)
		assert.False(t, out.Live || out.Followed || out.Anew)
		last := seen[len(seen)-1]
		assert.Equal(t, last.AllTotal, last.AllDone)
		assert.NotZero(t, last.AllTotal)
		requireMoved(t, l, cfg)
	})
}

// The source is in use at the first copies, and changes in the middle of them.
func TestLive(t *testing.T) { eachDirection(t, testLive) }

func testLive(t *testing.T, cfg copy.Config) {
	t.Helper()
	source := open(t, cfg.From)
	l := newLife(t, source, keyOne)
	for range 25 {
		l.step()
	}
	cfg.Now = func() time.Time { return l.now }
	for round := range 2 {
		busy := cfg
		busy.Progress = func(p copy.Progress) {
			if p.Done == 0 {
				l.step()
			}
		}
		out, err := copy.Run(t.Context(), busy)
		require.NoError(t, err)
		assert.Equal(t, copy.Result{Counts: out.Counts, Live: true, Followed: round > 0}, out)
		requireNothingDue(t, l, cfg.To)
		_, err = copy.Compare(t.Context(), cfg, true)
		require.ErrorContains(t, err, "waits for its last copy")
		for range 10 {
			l.step()
		}
	}
	require.NoError(t, source.Close())

	ctx, cancel := context.WithCancel(t.Context())
	ended := cfg
	ended.Progress = func(p copy.Progress) {
		if p.Table == "idempotency" {
			cancel()
		}
	}
	_, err := copy.Run(ctx, ended)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "as it was before")
	requireNothingDue(t, l, cfg.To)

	out, err := copy.Run(t.Context(), cfg)
	require.NoError(t, err)
	assert.Equal(t, copy.Result{Counts: out.Counts, Followed: true}, out)
	requireMoved(t, l, cfg)
}

// A node refuses a target that waits. One of a version that doesn't would send
// nothing, and call nobody.
func requireNothingDue(t *testing.T, l *life, p copy.Place) {
	t.Helper()
	require.ErrorContains(t, backend(p).Open(t.Context()), "a copy that isn't complete")
	hide(t, p, "copy", "hidden")
	defer hide(t, p, "hidden", "copy")
	s := open(t, p)
	defer func() { require.NoError(t, s.Close()) }()
	for _, channel := range []storage.Channel{storage.SMS, storage.Email} {
		claims, err := s.Claim(t.Context(), storage.ClaimRequest{Channel: channel, Limit: 100, Now: l.now.Add(time.Hour), Lease: time.Minute})
		require.NoError(t, err)
		require.Empty(t, claims)
	}
	due, err := s.ClaimCallbacks(t.Context(), storage.CallbackRequest{ServiceID: tenantB, Limit: 100, Now: l.now.Add(time.Hour), Lease: time.Minute})
	require.NoError(t, err)
	require.Empty(t, due)
	stats, err := s.Stats(t.Context())
	require.NoError(t, err)
	require.NotZero(t, stats.Callbacks)
}

// hide renames a fact of a database.
func hide(t *testing.T, p copy.Place, from, to string) {
	t.Helper()
	driver, source, table := "pgx", "", "signpost.meta"
	if p.SQLite != nil {
		driver, source, table = "sqlite", p.SQLite.Path, "meta"
	} else {
		source = p.Postgres.DSN
	}
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.ExecContext(t.Context(), "UPDATE "+table+" SET name = '"+to+"' WHERE name = '"+from+"'")
	require.NoError(t, err)
}

// Only what has changed is written by a later copy.
func TestFollowingWritesLittle(t *testing.T) {
	eachDirection(t, func(t *testing.T, cfg copy.Config) {
		source := open(t, cfg.From)
		l := newLife(t, source, keyOne)
		for range 10 {
			_, err := source.Create(t.Context(), creation(start))
			require.NoError(t, err)
		}
		claims, err := source.Claim(t.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 8, Now: start, Lease: time.Minute})
		require.NoError(t, err)
		for _, c := range claims {
			require.NoError(t, source.Complete(t.Context(), c, storage.Outcome{Status: storage.StatusDelivered, At: start}))
		}
		_, err = source.Create(t.Context(), creation(start.Add(time.Hour)))
		require.NoError(t, err)
		cfg.Now = func() time.Time { return l.now }
		_, err = copy.Run(t.Context(), cfg)
		require.NoError(t, err)
		_, err = source.Create(t.Context(), creation(start.Add(time.Hour)))
		require.NoError(t, err)
		out, err := copy.Run(t.Context(), cfg)
		require.NoError(t, err)
		assert.Contains(t, out.Counts, copy.Count{Table: "notification", Rows: 12, Written: 4}, "8 are final")
	})
}

// A receipt was faster than its worker, whose report changes a notification once
// more that is final; one comes to its end; and a dead letter is taken back.
func TestOldOnesThatChange(t *testing.T) {
	eachDirection(t, func(t *testing.T, cfg copy.Config) {
		source := open(t, cfg.From)
		l := newLife(t, source, keyOne)
		ctx := t.Context()
		for range 3 {
			made, err := source.Create(ctx, creation(start))
			require.NoError(t, err)
			l.uuids[made.Notification.UUID] = tenantA
		}
		claims, err := source.Claim(ctx, storage.ClaimRequest{Channel: storage.SMS, Limit: 3, Now: start, Lease: time.Hour})
		require.NoError(t, err)
		require.Len(t, claims, 3)
		_, _, err = source.Receipt(ctx, storage.Receipt{
			Sender: "acme", Reference: claims[0].Notification.UUID.String(), Status: storage.StatusDelivered, At: start,
		})
		require.NoError(t, err)
		require.NoError(t, source.Complete(ctx, claims[1], storage.Outcome{Status: storage.StatusTechnicalFailure, At: start}))
		_, err = source.Create(ctx, creation(start.Add(time.Hour))) // the others are settled
		require.NoError(t, err)
		cfg.Now = func() time.Time { return l.now }
		out, err := copy.Run(ctx, cfg)
		require.NoError(t, err)
		require.True(t, out.Live)

		require.NoError(t, source.Complete(ctx, claims[0], storage.Outcome{
			Status: storage.StatusSending, At: start.Add(time.Minute), ProviderReference: "late",
		}))
		require.NoError(t, source.Complete(ctx, claims[2], storage.Outcome{Status: storage.StatusDelivered, At: start.Add(time.Minute)}))
		again, err := source.Requeue(ctx, storage.DeadLetterQuery{}, start.Add(time.Minute))
		require.NoError(t, err)
		require.Len(t, again, 1)
		require.NoError(t, source.Close())
		out, err = copy.Run(ctx, cfg)
		require.NoError(t, err)
		assert.Equal(t, copy.Result{Counts: out.Counts, Followed: true}, out)
		same, err := copy.Compare(ctx, cfg, true)
		require.NoError(t, err)
		assert.True(t, same.Same(), same.Tables)
		assert.Equal(t, l.look(open(t, cfg.From), keyOne), l.look(open(t, cfg.To), keyTwo))
	})
}

// A clock that is wrong by more than can be expected costs time, and no data.
func TestSweptTooEarly(t *testing.T) {
	eachDirection(t, func(t *testing.T, cfg copy.Config) {
		source := open(t, cfg.From)
		l := newLife(t, source, keyOne)
		for range 30 {
			l.step()
		}
		cfg.Now = func() time.Time { return start.Add(-1000 * time.Hour) }
		_, err := copy.Run(t.Context(), cfg)
		require.NoError(t, err)
		_, err = source.Sweep(t.Context(), storage.SweepRequest{Now: start.Add(24*time.Hour + 5*time.Minute)})
		require.NoError(t, err)
		for range 30 {
			l.step()
		}
		require.NoError(t, source.Close())
		out, err := copy.Run(t.Context(), cfg)
		require.NoError(t, err)
		assert.True(t, out.Anew)
		requireMoved(t, l, cfg)
	})
}

func TestRefused(t *testing.T) {
	eachDirection(t, func(t *testing.T, cfg copy.Config) {
		source := open(t, cfg.From)
		l := newLife(t, source, keyOne)
		for range 5 {
			l.step()
		}
		_, err := copy.Run(t.Context(), cfg)
		require.NoError(t, err)

		other := cfg
		if cfg.From.SQLite != nil {
			other.From = newSQLite(t, keyOne)
		} else {
			other.From = newPostgres(t, keyOne)
		}
		require.NoError(t, open(t, other.From).Close())
		_, err = copy.Run(t.Context(), other)
		require.ErrorIs(t, err, copy.ErrOtherSource)

		same := cfg
		same.To = cfg.From
		_, err = copy.Run(t.Context(), same)
		require.Error(t, err, "the source's node is in the way")
		_, err = copy.Compare(t.Context(), same, false)
		require.ErrorIs(t, err, copy.ErrSameDatabase)

		wrong := cfg
		if cfg.From.SQLite != nil {
			wrong.From.SQLite = &sqlite.Config{Path: cfg.From.SQLite.Path, SecretsKey: keyTwo}
		} else {
			wrong.From.Postgres = &postgres.Config{DSN: cfg.From.Postgres.DSN, SecretsKey: keyTwo}
		}
		_, err = copy.Run(t.Context(), wrong)
		require.ErrorContains(t, err, "secrets key is not")

		require.ErrorContains(t, backend(cfg.To).Open(t.Context()), "a copy that isn't complete")
		require.NoError(t, source.Close())
		out, err := copy.Run(t.Context(), cfg)
		require.NoError(t, err)
		require.False(t, out.Live)
		node := open(t, cfg.To)
		require.NoError(t, node.Ping(t.Context())) // so that it is connected
		_, err = copy.Run(t.Context(), cfg)
		if cfg.To.SQLite != nil {
			require.ErrorContains(t, err, "in use by")
		} else {
			require.ErrorIs(t, err, copy.ErrNodes)
		}
		require.NoError(t, node.Ping(t.Context())) // as /health does
		require.NoError(t, node.Close())
		_, err = copy.Run(t.Context(), cfg)
		require.ErrorIs(t, err, copy.ErrUsed)

		filled := cfg
		if cfg.To.SQLite != nil {
			filled.To = newSQLite(t, keyTwo)
		} else {
			filled.To = newPostgres(t, keyTwo)
		}
		node = open(t, filled.To)
		newLife(t, node, keyTwo)
		require.NoError(t, node.Close())
		_, err = copy.Run(t.Context(), filled)
		var notEmpty *copy.NotEmptyError
		require.ErrorAs(t, err, &notEmpty)
		assert.Equal(t, "service", notEmpty.Table)
	})
}

func TestConfig(t *testing.T) {
	_, err := copy.Run(t.Context(), copy.Config{From: newSQLite(t, nil), To: newSQLite(t, nil), Reseal: reseal, ResealSettings: resealSettings})
	require.ErrorContains(t, err, "there is no database")
	_, err = copy.Run(t.Context(), copy.Config{})
	require.ErrorContains(t, err, "Reseal")
	_, err = copy.Run(t.Context(), copy.Config{Reseal: reseal})
	require.ErrorContains(t, err, "one of SQLite and Postgres")
}

// A SQLite source that was stopped in the middle of a write, and the keys in
// files beside both databases.
func TestKeyFiles(t *testing.T) {
	cfg := copy.Config{From: newSQLite(t, nil), To: newSQLite(t, nil), Reseal: reseal, ResealSettings: resealSettings}
	source := open(t, cfg.From)
	key, err := source.SecretsKey(t.Context())
	require.NoError(t, err)
	l := newLife(t, source, key)
	l.step()
	require.NoError(t, source.Close())
	none := cfg
	none.ResealSettings = nil
	_, err = copy.Run(t.Context(), none)
	require.ErrorContains(t, err, "service "+tenantA+" has settings, and nothing was given")
	_, err = copy.Run(t.Context(), cfg)
	require.NoError(t, err)
	target := open(t, cfg.To)
	other, err := target.SecretsKey(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, key, other)
	assert.Equal(t, l.look(open(t, cfg.From), key), l.look(target, other))

	require.NoError(t, os.Remove(cfg.From.SQLite.Path+".key"))
	_, err = copy.Compare(t.Context(), cfg, false)
	require.ErrorContains(t, err, "is missing")
}

// Compare sees a single value, and counts of a target that isn't there; and it
// makes nothing.
func TestCompare(t *testing.T) {
	eachDirection(t, func(t *testing.T, cfg copy.Config) {
		source := open(t, cfg.From)
		l := newLife(t, source, keyOne)
		for range 20 {
			l.step()
		}
		before, err := copy.Compare(t.Context(), cfg, false)
		require.NoError(t, err)
		assert.True(t, before.Live)
		assert.False(t, before.Same() || before.Follows)
		_, err = copy.Compare(t.Context(), cfg, true)
		require.ErrorContains(t, err, "no target")
		if cfg.To.SQLite != nil {
			require.NoFileExists(t, cfg.To.SQLite.Path)
		}
		require.NoError(t, source.Close())
		_, err = copy.Run(t.Context(), cfg)
		require.NoError(t, err)
		after, err := copy.Compare(t.Context(), cfg, true)
		require.NoError(t, err)
		assert.Equal(t, copy.Comparison{Tables: after.Tables, Follows: true}, after)
		assert.True(t, after.Same())

		target := open(t, cfg.To)
		claims, err := target.Claim(t.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: l.now.Add(time.Hour), Lease: time.Minute})
		require.NoError(t, err)
		require.Len(t, claims, 1)
		require.NoError(t, target.Complete(t.Context(), claims[0], storage.Outcome{Status: storage.StatusDelivered, At: l.now}))
		sealer, err := storage.NewSealer(keyTwo)
		require.NoError(t, err)
		require.NoError(t, target.PutServiceSettings(t.Context(), tenantA, settings(t, sealer, "another bearer", l.steps+1)))
		changed, err := copy.Compare(t.Context(), cfg, true)
		require.NoError(t, err)
		assert.False(t, changed.Same())
		for _, p := range changed.Tables {
			assert.Equal(t, p.Table == "notification" || p.Table == "service", p.Differ, p.Table)
			assert.Equal(t, p.From, p.To)
		}
	})
}
