package storagetest

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func testCreate(t *testing.T, s *suite) {
	ctx := t.Context()
	c := sample(serviceA, time.Date(2026, 11, 22, 13, 0, 0, 1234567, time.FixedZone("", 3600)))
	// What the back end decides can't be handed in.
	c.Notification.ID, c.Notification.Attempts, c.Notification.Reason, c.Notification.SentAt = 77, 5, "no", at(0)
	got := s.create(t, c)
	want := c.Notification
	want.ID, want.JobID = got.ID, got.ID
	want.CreatedAt = time.Date(2026, 11, 22, 12, 0, 0, 1234000, time.UTC)
	want.ExpiresAt = want.CreatedAt.Add(week)
	want.UpdatedAt, want.Status = want.CreatedAt, storage.StatusCreated
	want.Attempts, want.Reason, want.SentAt = 0, "", time.Time{}
	assert.Equal(t, want, got)
	assert.Positive(t, got.ID)
	assert.Equal(t, want, s.get(t, got))
	byUUID, err := s.NotificationByUUID(ctx, serviceA, c.Notification.UUID)
	require.NoError(t, err)
	assert.Equal(t, want, byUUID)

	job := sample(serviceA, at(0))
	job.Notification.JobID = got.ID
	second := s.create(t, job)
	assert.Equal(t, got.ID, second.JobID)
	assert.Greater(t, second.ID, got.ID)

	twin := sample(serviceA, at(0))
	twin.Notification.UUID = c.Notification.UUID
	twin.Limits = []storage.Limit{{Key: "counted", ExpiresAt: at(time.Hour)}}
	_, err = s.Create(ctx, twin)
	require.ErrorIs(t, err, storage.ErrExists)
	counted, err := s.Counter(ctx, "counted")
	require.NoError(t, err)
	assert.Zero(t, counted)
	assert.EqualValues(t, 2, s.total(t, serviceA))

	large := sample(serviceA, at(0))
	large.Notification.Body = strings.Repeat("long — ", 100_000)
	assert.Equal(t, large.Notification.Body, s.get(t, s.create(t, large)).Body)
}

func testCreateInvalid(t *testing.T, s *suite) {
	for name, spoil := range map[string]func(c *storage.Creation){
		"no UUID":    func(c *storage.Creation) { c.Notification.UUID = uuid.Nil },
		"no service": func(c *storage.Creation) { c.Notification.ServiceID = "" },
		"channel":    func(c *storage.Creation) { c.Notification.Channel = "letter" },
		"created":    func(c *storage.Creation) { c.Notification.CreatedAt = time.Time{} },
		"expires":    func(c *storage.Creation) { c.Notification.ExpiresAt = time.Time{} },
		"status":     func(c *storage.Creation) { c.Notification.Status = storage.StatusDelivered },
		"empty key":  func(c *storage.Creation) { c.Idempotency = &storage.Idempotency{ExpiresAt: at(0)} },
		"long key": func(c *storage.Creation) {
			c.Idempotency = &storage.Idempotency{Key: make([]byte, 65), ExpiresAt: at(0)}
		},
		"limit": func(c *storage.Creation) { c.Limits = []storage.Limit{{Max: 1}} },
	} {
		c := sample(serviceA, at(0))
		spoil(&c)
		_, err := s.Create(t.Context(), c)
		require.ErrorIs(t, err, storage.ErrInvalid, name)
	}
	assert.Zero(t, s.total(t, serviceA))
}

func testCreateConcurrently(t *testing.T, s *suite) {
	const callers, each = 64, 8
	var mu sync.Mutex
	var ids []int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			last := int64(0)
			for range each {
				c := sample(serviceA, at(0))
				c.Limits = []storage.Limit{{Key: "all", Max: callers * each, ExpiresAt: at(time.Hour)}}
				got, err := s.Create(t.Context(), c)
				if !assert.NoError(t, err) {
					return
				}
				n, err := s.NotificationByID(t.Context(), serviceA, got.Notification.ID)
				assert.NoError(t, err, "what was acknowledged can be read")
				assert.Equal(t, c.Notification.UUID, n.UUID)
				assert.Greater(t, got.Notification.ID, last)
				last = got.Notification.ID
				mu.Lock()
				ids = append(ids, last)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(ids)
	assert.Len(t, slices.Compact(ids), callers*each)
	assert.EqualValues(t, callers*each, s.total(t, serviceA))
	n, err := s.Counter(t.Context(), "all")
	require.NoError(t, err)
	assert.EqualValues(t, callers*each, n)
}

func testTenantIsolation(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.create(t, withKey(sample(serviceA, at(0)), "key", "", at(time.Hour)))
	for _, other := range []string{serviceB, "", strings.ToUpper(serviceA), serviceA + "\x00", "unknown"} {
		_, err := s.NotificationByID(ctx, other, n.ID)
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, err = s.NotificationByUUID(ctx, other, n.UUID)
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, err = s.Idempotent(ctx, other, []byte("key"))
		require.ErrorIs(t, err, storage.ErrNotFound)
		p, err := s.Notifications(ctx, storage.Query{ServiceID: other, Limit: 10})
		require.NoError(t, err)
		assert.Equal(t, storage.Page{}, p)
	}
	_, err := s.NotificationByID(ctx, serviceA, n.ID+1)
	require.ErrorIs(t, err, storage.ErrNotFound)
	_, err = s.NotificationByUUID(ctx, serviceA, uuid.Max)
	require.ErrorIs(t, err, storage.ErrNotFound)
	// The same key of another service is another key.
	other := s.create(t, withKey(sample(serviceB, at(0)), "key", "", at(time.Hour)))
	assert.NotEqual(t, n.ID, other.ID)
	got, err := s.Idempotent(ctx, serviceB, []byte("key"))
	require.NoError(t, err)
	assert.Equal(t, other, got)
}

func testIdempotency(t *testing.T, s *suite) {
	ctx := t.Context()
	_, err := s.Idempotent(ctx, serviceA, []byte("key"))
	require.ErrorIs(t, err, storage.ErrNotFound)
	first := s.create(t, withKey(sample(serviceA, at(0)), "key", "", at(time.Minute)))
	again, err := s.Create(ctx, withKey(sample(serviceA, at(time.Second)), "key", "", at(time.Hour)))
	require.NoError(t, err)
	assert.Equal(t, storage.Created{Notification: first, Replayed: true}, again)
	stored, err := s.Idempotent(ctx, serviceA, []byte("key"))
	require.NoError(t, err)
	assert.Equal(t, first, stored)
	assert.EqualValues(t, 1, s.total(t, serviceA))

	// A replay shows how the delivery has moved on.
	claim := s.claimOne(t, at(time.Second))
	require.NoError(t, s.Complete(ctx, claim, storage.Outcome{Status: storage.StatusDelivered, At: at(2 * time.Second)}))
	again, err = s.Create(ctx, withKey(sample(serviceA, at(time.Second)), "key", "", at(time.Hour)))
	require.NoError(t, err)
	assert.Equal(t, s.get(t, first), again.Notification)
	assert.Equal(t, storage.StatusDelivered, again.Notification.Status)

	key := bytes.Repeat([]byte{0}, storage.MaxIdempotencyKey)
	binary := s.create(t, withKey(sample(serviceA, at(0)), string(key), "", at(time.Minute)))
	got, err := s.Idempotent(ctx, serviceA, key)
	require.NoError(t, err)
	assert.Equal(t, binary, got)
	_, err = s.Idempotent(ctx, serviceA, key[1:])
	require.ErrorIs(t, err, storage.ErrNotFound)
}

func testIdempotencyMismatch(t *testing.T, s *suite) {
	ctx := t.Context()
	first := s.create(t, withKey(sample(serviceA, at(0)), "key", "hash", at(time.Minute)))
	for _, c := range []struct {
		hash string
		want error
	}{{"hash", nil}, {"", nil}, {"other", storage.ErrIdempotencyMismatch}} {
		got, err := s.Create(ctx, withKey(sample(serviceA, at(0)), "key", c.hash, at(time.Minute)))
		if c.want != nil {
			require.ErrorIs(t, err, c.want)
			assert.Zero(t, got)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, first.ID, got.Notification.ID)
	}
	assert.EqualValues(t, 1, s.total(t, serviceA))
}

func testIdempotencyExpiry(t *testing.T, s *suite) {
	ctx := t.Context()
	first := s.create(t, withKey(sample(serviceA, at(0)), "key", "hash", at(time.Minute)))
	on, err := s.Create(ctx, withKey(sample(serviceA, at(time.Minute)), "key", "", at(time.Hour)))
	require.NoError(t, err)
	assert.True(t, on.Replayed, "the last instant counts")
	second := s.create(t, withKey(sample(serviceA, at(time.Minute+time.Microsecond)), "key", "other", at(time.Hour)))
	assert.NotEqual(t, first.ID, second.ID)
	// Sweeping the first use must not take the second with it.
	_, err = s.Sweep(ctx, storage.SweepRequest{Now: at(30 * time.Minute)})
	require.NoError(t, err)
	got, err := s.Idempotent(ctx, serviceA, []byte("key"))
	require.NoError(t, err)
	assert.Equal(t, second, got)
	_, err = s.Sweep(ctx, storage.SweepRequest{Now: at(2 * time.Hour)})
	require.NoError(t, err)
	_, err = s.Idempotent(ctx, serviceA, []byte("key"))
	require.ErrorIs(t, err, storage.ErrNotFound)
}

func testIdempotentTwins(t *testing.T, s *suite) {
	for range 20 {
		before := s.total(t, serviceA)
		key := uuid.NewString()
		var mu sync.Mutex
		answers := map[int64]int{}
		created := 0
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				c := withKey(sample(serviceA, at(0)), key, "same", at(time.Hour))
				c.Limits = []storage.Limit{{Key: key, Max: 1, ExpiresAt: at(time.Hour)}}
				got, err := s.Create(t.Context(), c)
				if !assert.NoError(t, err) {
					return
				}
				stored, err := s.NotificationByID(t.Context(), serviceA, got.Notification.ID)
				assert.NoError(t, err, "durable before any twin is answered")
				assert.Equal(t, stored, got.Notification)
				mu.Lock()
				defer mu.Unlock()
				answers[got.Notification.ID]++
				if !got.Replayed {
					created++
				}
			})
		}
		wg.Wait()
		assert.Len(t, answers, 1)
		assert.Equal(t, 1, created)
		assert.Equal(t, before+1, s.total(t, serviceA))
	}
}
