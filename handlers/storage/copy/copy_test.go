//go:build unix

package copy_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
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

func creation(service, code string, channel storage.Channel) storage.Creation {
	return storage.Creation{Notification: storage.Notification{
		UUID: uuid.Must(uuid.NewV7()), ServiceID: service, KeyName: "live", KeyType: storage.KeyNormal, Channel: channel,
		TemplateID: "1", TemplateVersion: 1, To: "+447700900123", Reference: "ref " + code, Subject: "On \x00 Monday", Body: "Your code is " + code,
		Status: storage.StatusCreated, Sender: "acme", CreatedAt: start, UpdatedAt: start, ExpiresAt: start.Add(24 * time.Hour),
	}}
}

// fill makes notifications in every state, and a row in every other table.
func fill(t *testing.T, s storage.Backend) (ids map[string][]int64) {
	t.Helper()
	ctx := t.Context()
	ids = make(map[string][]int64)
	require.NoError(t, s.PutService(ctx, storage.Service{ID: tenantA, Name: "Äpfel", CreatedAt: start}))
	sealer, err := storage.NewSealer(keyOne)
	require.NoError(t, err)
	require.NoError(t, s.AddKey(ctx, storage.APIKey{ServiceID: tenantA, Name: "live", Type: storage.KeyNormal,
		Secret: sealer.Seal([]byte("secret"), "live"), CreatedAt: start}))
	require.NoError(t, s.AddKey(ctx, storage.APIKey{ServiceID: tenantA, Name: "old", Type: storage.KeyTest,
		Secret: sealer.Seal([]byte("older"), "old"), CreatedAt: start}))
	require.NoError(t, s.RevokeKey(ctx, tenantA, "old", start.Add(time.Minute)))
	for range 2 {
		_, err := s.PutTemplate(ctx, storage.Template{ServiceID: tenantB, ID: "1", Channel: storage.SMS, Body: "((code))", CreatedAt: start})
		require.NoError(t, err)
	}
	statuses := []storage.Status{
		"", storage.StatusCreated, storage.StatusSending, storage.StatusDelivered, storage.StatusTemporaryFailure,
		storage.StatusPermanentFailure, storage.StatusTechnicalFailure,
	}
	for i := range 70 {
		service, channel := tenantA, storage.SMS
		if i%3 == 0 {
			service, channel = tenantB, storage.Email
		}
		c := creation(service, fmt.Sprint(i), channel)
		c.Idempotency = &storage.Idempotency{Key: bytes.Repeat([]byte{byte(i)}, 32), ExpiresAt: start.Add(time.Hour)}
		c.Limits = []storage.Limit{{Key: "day/" + service, Max: 1000, ExpiresAt: start.Add(time.Hour)}}
		made, err := s.Create(ctx, c)
		require.NoError(t, err)
		ids[service] = append(ids[service], made.Notification.ID)
	}
	for _, channel := range []storage.Channel{storage.SMS, storage.Email} {
		claims, err := s.Claim(ctx, storage.ClaimRequest{Channel: channel, Limit: 100, Now: start, Lease: time.Minute})
		require.NoError(t, err)
		for i, c := range claims {
			status := statuses[i%len(statuses)]
			if status == "" {
				continue // its lease is lost with its process
			}
			o := storage.Outcome{Status: status, At: start.Add(time.Second), Reason: "because", Callback: true}
			switch status {
			case storage.StatusCreated:
				o.NextAttempt = start.Add(time.Minute)
			case storage.StatusSending, storage.StatusDelivered:
				o.Reason, o.ProviderReference = "", "SM"+fmt.Sprint(c.Notification.ID)
			}
			require.NoError(t, s.Complete(ctx, c, o))
		}
	}
	first, err := s.Remember(ctx, storage.ReplayKey{ServiceID: tenantA, Key: []byte("used"), ExpiresAt: start.Add(time.Hour)}, start)
	require.NoError(t, err)
	require.True(t, first)
	require.NoError(t, s.PutSigningClient(ctx, storage.SigningClient{ID: "pharmacy", Name: "P", Keys: []byte(`{"keys":[]}`), Callback: "https://x.example", CreatedAt: start}))
	for i := range byte(4) {
		r := storage.SigningRequest{Token: storage.Digest{i + 1}, Client: "pharmacy", Bearer: "b", State: map[bool]string{true: "s"}[i > 0], HasState: i > 0, Status: storage.SigningRequested,
			CreatedAt: start, Deadline: start.Add(time.Minute), ExpiresAt: start.Add(time.Hour), JWT: []byte("a.b.c")}
		require.NoError(t, s.CreateSigningRequest(ctx, r))
		if i > 1 {
			_, _, err := s.DownloadSigningRequest(ctx, r.Token, &storage.Digest{9})
			require.NoError(t, err)
		}
		if i > 2 {
			_, _, err := s.SignSigningRequest(ctx, r.Token, []byte("response"), start.Add(time.Hour))
			require.NoError(t, err)
		}
	}
	return ids
}

// view is all that a back end says.
type view struct {
	Services      []storage.Service
	Keys          []storage.APIKey
	Templates     []storage.Template
	Notifications map[string]storage.Page
	ByKey         []int64
	Counters      []int64
	Stats         storage.Stats
	Callbacks     map[string]time.Time
	DeadLetters   []storage.Notification
	Clients       []storage.SigningClient
	Requests      []storage.SigningRequest
}

func look(t *testing.T, s storage.Backend, key []byte) (v view) {
	t.Helper()
	ctx := t.Context()
	var err error
	v.Services, err = s.Services(ctx)
	require.NoError(t, err)
	v.Keys, err = s.Keys(ctx, tenantA)
	require.NoError(t, err)
	sealer, err := storage.NewSealer(key)
	require.NoError(t, err)
	for i, k := range v.Keys {
		v.Keys[i].Secret, err = sealer.Open(k.Secret, k.Name)
		require.NoError(t, err)
	}
	v.Templates, err = s.Templates(ctx, tenantB)
	require.NoError(t, err)
	older, err := s.Template(ctx, tenantB, "1", 1)
	require.NoError(t, err)
	v.Templates = append(v.Templates, older)
	v.Notifications = make(map[string]storage.Page)
	for _, service := range []string{tenantA, tenantB} {
		p, err := s.Notifications(ctx, storage.Query{ServiceID: service, Limit: 100})
		require.NoError(t, err)
		v.Notifications[service] = p
		n, err := s.Counter(ctx, "day/"+service)
		require.NoError(t, err)
		v.Counters = append(v.Counters, n)
	}
	for i := range 70 {
		service := tenantA
		if i%3 == 0 {
			service = tenantB
		}
		n, err := s.Idempotent(ctx, service, bytes.Repeat([]byte{byte(i)}, 32))
		require.NoError(t, err)
		v.ByKey = append(v.ByKey, n.ID)
	}
	v.Stats, err = s.Stats(ctx)
	require.NoError(t, err)
	v.Callbacks, err = s.NextCallbacks(ctx, []string{tenantA, tenantB})
	require.NoError(t, err)
	v.DeadLetters, err = s.DeadLetters(ctx, storage.DeadLetterQuery{})
	require.NoError(t, err)
	v.Clients, err = s.SigningClients(ctx)
	require.NoError(t, err)
	for i := range byte(4) {
		r, err := s.SigningRequest(ctx, storage.Digest{i + 1})
		require.NoError(t, err)
		v.Requests = append(v.Requests, r)
	}
	return v
}

func opened(t *testing.T, s storage.Backend) storage.Backend {
	t.Helper()
	require.NoError(t, s.Open(t.Context()))
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func target(t *testing.T) postgres.Config {
	t.Helper()
	server := pgtest.Shared(t)
	name, err := server.Create(t.Context(), "")
	require.NoError(t, err)
	return postgres.Config{DSN: server.DSN(name), SecretsKey: keyTwo}
}

func TestRun(t *testing.T) {
	from := sqlite.Config{Path: filepath.Join(t.TempDir(), "signpost.db"), SecretsKey: keyOne}
	source := sqlite.New(from)
	require.NoError(t, source.Open(t.Context()))
	ids := fill(t, source)
	require.NoError(t, source.Close())
	source = sqlite.New(from) // opened again, it has given the leases back
	require.NoError(t, source.Open(t.Context()))
	want := look(t, source, keyOne)
	require.NotEmpty(t, want.Callbacks)
	require.NotEmpty(t, want.DeadLetters)
	to := target(t)

	_, err := copy.Run(t.Context(), copy.Config{From: from, To: to, Reseal: reseal})
	require.ErrorContains(t, err, "in use by", "a source that is in use")
	require.NoError(t, source.Close())

	var seen []copy.Progress
	counts, err := copy.Run(t.Context(), copy.Config{From: from, To: to, Reseal: reseal, Progress: func(p copy.Progress) { seen = append(seen, p) }})
	require.NoError(t, err)
	assert.Contains(t, counts, copy.Count{Table: "notification", Rows: 70})
	last := seen[len(seen)-1]
	assert.Equal(t, last.AllTotal, last.AllDone)

	other := opened(t, postgres.New(to))
	got := look(t, other, keyTwo)
	assert.Equal(t, want, got)

	// Life goes on: no id comes twice, nothing is forgotten.
	made, err := other.Create(t.Context(), creation(tenantA, "new", storage.SMS))
	require.NoError(t, err)
	assert.Greater(t, made.Notification.ID, max(ids[tenantA][len(ids[tenantA])-1], ids[tenantB][len(ids[tenantB])-1]))
	first, err := other.Remember(t.Context(), storage.ReplayKey{ServiceID: tenantA, Key: []byte("used"), ExpiresAt: start.Add(time.Hour)}, start)
	require.NoError(t, err)
	assert.False(t, first, "a used token is new again")
	claims, err := other.Claim(t.Context(), storage.ClaimRequest{Channel: storage.Email, Limit: 100, Now: start.Add(time.Hour), Lease: time.Minute})
	require.NoError(t, err)
	assert.NotEmpty(t, claims)
	due, err := other.ClaimCallbacks(t.Context(), storage.CallbackRequest{ServiceID: tenantB, Limit: 100, Now: start.Add(time.Hour), Lease: time.Minute})
	require.NoError(t, err)
	assert.NotEmpty(t, due)

	_, err = copy.Run(t.Context(), copy.Config{From: from, To: to, Reseal: reseal})
	var notEmpty *copy.NotEmptyError
	require.ErrorAs(t, err, &notEmpty)
	assert.Equal(t, "service", notEmpty.Table)
}

// A copy that ends half-way leaves nothing, and can be made again.
func TestInterrupted(t *testing.T) {
	from := sqlite.Config{Path: filepath.Join(t.TempDir(), "signpost.db"), SecretsKey: keyOne}
	source := sqlite.New(from)
	require.NoError(t, source.Open(t.Context()))
	fill(t, source)
	require.NoError(t, source.Close())
	to := target(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := copy.Run(ctx, copy.Config{From: from, To: to, Reseal: reseal, Progress: func(p copy.Progress) {
		if p.Table == "idempotency" {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	_, err = copy.Run(t.Context(), copy.Config{From: from, To: to, Reseal: reseal})
	require.NoError(t, err)
}

func TestRefusals(t *testing.T) {
	_, err := copy.Run(t.Context(), copy.Config{From: sqlite.Config{Path: filepath.Join(t.TempDir(), "none.db")}, Reseal: reseal})
	require.ErrorContains(t, err, "there is no database")
	_, err = copy.Run(t.Context(), copy.Config{})
	require.ErrorContains(t, err, "Reseal")
}
