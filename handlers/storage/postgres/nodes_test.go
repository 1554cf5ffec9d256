//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/storagetest"
)

// nodes is several stores on one database that take turns: what one has written,
// the next must know.
type nodes struct {
	*Store // for what isn't below
	all    []*Store
	turn   atomic.Int64
	wake   chan struct{}
}

func (n *nodes) next() *Store { return n.all[int(n.turn.Add(1))%len(n.all)] }

func (n *nodes) Close() error {
	var errs []error
	for _, s := range n.all {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (n *nodes) Wake() <-chan struct{} { return n.wake }

func (n *nodes) woken(err error) {
	if err == nil {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

func (n *nodes) PutService(ctx context.Context, v storage.Service) error {
	return n.next().PutService(ctx, v)
}

func (n *nodes) Service(ctx context.Context, id string) (storage.Service, error) {
	return n.next().Service(ctx, id)
}
func (n *nodes) AddKey(ctx context.Context, k storage.APIKey) error { return n.next().AddKey(ctx, k) }
func (n *nodes) Keys(ctx context.Context, id string) ([]storage.APIKey, error) {
	return n.next().Keys(ctx, id)
}

func (n *nodes) PutTemplate(ctx context.Context, t storage.Template) (storage.Template, error) {
	return n.next().PutTemplate(ctx, t)
}

func (n *nodes) Create(ctx context.Context, c storage.Creation) (storage.Created, error) {
	out, err := n.next().Create(ctx, c)
	n.woken(err)
	return out, err
}

func (n *nodes) Idempotent(ctx context.Context, id string, key []byte) (storage.Notification, error) {
	return n.next().Idempotent(ctx, id, key)
}

func (n *nodes) NotificationByID(ctx context.Context, service string, id int64) (storage.Notification, error) {
	return n.next().NotificationByID(ctx, service, id)
}

func (n *nodes) Notifications(ctx context.Context, q storage.Query) (storage.Page, error) {
	return n.next().Notifications(ctx, q)
}

func (n *nodes) Take(ctx context.Context, b storage.Bucket, now time.Time) (time.Duration, error) {
	return n.next().Take(ctx, b, now)
}

func (n *nodes) GiveBack(ctx context.Context, b storage.Bucket, now time.Time) error {
	return n.next().GiveBack(ctx, b, now)
}

func (n *nodes) Counter(ctx context.Context, key string) (int64, error) {
	return n.next().Counter(ctx, key)
}

func (n *nodes) Remember(ctx context.Context, k storage.ReplayKey, now time.Time) (bool, error) {
	return n.next().Remember(ctx, k, now)
}

func (n *nodes) Claim(ctx context.Context, r storage.ClaimRequest) ([]storage.Claim, error) {
	return n.next().Claim(ctx, r)
}

func (n *nodes) Renew(ctx context.Context, c storage.Claim, until time.Time) error {
	return n.next().Renew(ctx, c, until)
}

func (n *nodes) Reassign(ctx context.Context, c storage.Claim, sender string) (bool, error) {
	return n.next().Reassign(ctx, c, sender)
}

func (n *nodes) Complete(ctx context.Context, c storage.Claim, o storage.Outcome) error {
	return n.next().Complete(ctx, c, o)
}

func (n *nodes) Receipt(ctx context.Context, r storage.Receipt) (storage.Notification, bool, error) {
	return n.next().Receipt(ctx, r)
}

func (n *nodes) NextDue(ctx context.Context, channel storage.Channel) (time.Time, error) {
	return n.next().NextDue(ctx, channel)
}

func (n *nodes) Requeue(ctx context.Context, q storage.DeadLetterQuery, now time.Time) ([]int64, error) {
	ids, err := n.next().Requeue(ctx, q, now)
	if len(ids) > 0 {
		n.woken(err)
	}
	return ids, err
}

func (n *nodes) ClaimCallbacks(ctx context.Context, r storage.CallbackRequest) ([]storage.CallbackClaim, error) {
	return n.next().ClaimCallbacks(ctx, r)
}

func (n *nodes) CompleteCallback(ctx context.Context, c storage.CallbackClaim, next time.Time) error {
	return n.next().CompleteCallback(ctx, c, next)
}

func (n *nodes) CreateSigningRequest(ctx context.Context, r storage.SigningRequest) error {
	return n.next().CreateSigningRequest(ctx, r)
}

func (n *nodes) SigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, error) {
	return n.next().SigningRequest(ctx, token)
}

func (n *nodes) DownloadSigningRequest(ctx context.Context, token storage.Digest, binding *storage.Digest) (storage.SigningRequest, bool, error) {
	return n.next().DownloadSigningRequest(ctx, token, binding)
}

func (n *nodes) SignSigningRequest(ctx context.Context, token storage.Digest, response []byte, expires time.Time) (storage.SigningRequest, bool, error) {
	return n.next().SignSigningRequest(ctx, token, response, expires)
}

func (n *nodes) RetrieveSigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, bool, error) {
	return n.next().RetrieveSigningRequest(ctx, token)
}

func (n *nodes) Sweep(ctx context.Context, r storage.SweepRequest) (storage.Swept, error) {
	return n.next().Sweep(ctx, r)
}

// TestConformanceOfNodes runs the suite on two nodes that take turns, so that
// its concurrent callers meet in the database.
func TestConformanceOfNodes(t *testing.T) {
	checks(t, 10)
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		server, name := database(t)
		cfg := Config{DSN: server.DSN(name), Connections: 4}
		a, b := node(t, cfg), node(t, cfg)
		return &nodes{Store: a, all: []*Store{a, b}, wake: make(chan struct{}, 1)}
	})
}

// TestConformanceOfPooler runs the suite without anything that lasts longer on a
// connection than a transaction.
func TestConformanceOfPooler(t *testing.T) {
	if testing.Short() {
		t.Skip("the same suite as TestConformance, in another protocol")
	}
	checks(t, 10)
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		server, name := database(t)
		s := node(t, Config{DSN: server.DSN(name), Connections: 4, Pooler: true})
		return &nodes{Store: s, all: []*Store{s}, wake: make(chan struct{}, 1)} // its polls may come at any time
	})
}

func pair(t *testing.T) (a, b *Store) {
	t.Helper()
	server, name := database(t)
	return node(t, Config{DSN: server.DSN(name)}), node(t, Config{DSN: server.DSN(name)})
}

// TestTwinsAcrossNodes sends the same keys to both nodes at once, in batches of
// many: each is stored once, and counted once.
func TestTwinsAcrossNodes(t *testing.T) {
	a, b := pair(t)
	now := time.Now()
	const keys = 200
	var mu sync.Mutex
	ids := map[string]map[int64]bool{}
	first := map[string]int{}
	var wg sync.WaitGroup
	for i := range keys {
		key := fmt.Sprint("key ", i)
		ids[key] = map[int64]bool{}
		for _, s := range []*Store{a, b, a, b} {
			wg.Go(func() {
				c := sample(now)
				c.Idempotency.Key = []byte(key)
				c.Limits = []storage.Limit{{Key: "day", Max: keys, ExpiresAt: now.Add(time.Hour)}}
				got, err := s.Create(context.Background(), c)
				if !assert.NoError(t, err) {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				ids[key][got.Notification.ID] = true
				if !got.Replayed {
					first[key]++
				}
			})
		}
	}
	wg.Wait()
	for key := range ids {
		assert.Len(t, ids[key], 1, key)
		assert.Equal(t, 1, first[key], key)
	}
	n, err := b.Counter(t.Context(), "day")
	require.NoError(t, err)
	assert.EqualValues(t, keys, n)
	p, err := a.Notifications(t.Context(), storage.Query{ServiceID: service})
	require.NoError(t, err)
	assert.EqualValues(t, keys, p.Total)
}

// TestLimitAcrossNodes lets both nodes run into a limit at the same time.
func TestLimitAcrossNodes(t *testing.T) {
	a, b := pair(t)
	now := time.Now()
	const most = 150
	var stored atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		s := []*Store{a, b}[i%2]
		wg.Go(func() {
			for range 5 {
				c := sample(now)
				c.Limits = []storage.Limit{{Key: "tries", ExpiresAt: now}, {Key: "day", Max: most, ExpiresAt: now.Add(time.Hour)}}
				_, err := s.Create(context.Background(), c)
				if err == nil {
					stored.Add(1)
					continue
				}
				var limit *storage.LimitError
				assert.ErrorAs(t, err, &limit)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, most, stored.Load())
	for _, key := range []string{"day", "tries"} {
		n, err := a.Counter(t.Context(), key)
		require.NoError(t, err)
		assert.EqualValues(t, most, n)
	}
}

// TestBucketAcrossNodes takes more than there is, from both nodes.
func TestBucketAcrossNodes(t *testing.T) {
	a, b := pair(t)
	now := time.Now()
	var taken atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		s := []*Store{a, b}[i%2]
		wg.Go(func() {
			wait, err := s.Take(context.Background(), storage.Bucket{Key: "b", Capacity: 40, PerSecond: 1}, now)
			assert.NoError(t, err)
			if wait == 0 {
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 40, taken.Load())
}

// TestClaimsAcrossNodes: two nodes work off a queue, and nothing is claimed
// twice while its lease runs.
func TestClaimsAcrossNodes(t *testing.T) {
	a, b := pair(t)
	now := time.Now()
	const rows = 1000
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range rows / 20 {
				_, err := a.Create(context.Background(), sample(now))
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	var mu sync.Mutex
	claimed := map[int64]int{}
	for i := range 8 {
		s := []*Store{a, b}[i%2]
		wg.Go(func() {
			for {
				claims, err := s.Claim(context.Background(), storage.ClaimRequest{Channel: storage.SMS, Limit: 9, Now: now.Add(time.Second), Lease: time.Minute})
				if !assert.NoError(t, err) || len(claims) == 0 {
					return
				}
				for _, c := range claims {
					mu.Lock()
					claimed[c.Notification.ID]++
					mu.Unlock()
					assert.NoError(t, s.Complete(context.Background(), c, storage.Outcome{Status: storage.StatusDelivered, At: now}))
				}
			}
		})
	}
	wg.Wait()
	assert.Len(t, claimed, rows)
	for id, n := range claimed {
		assert.Equal(t, 1, n, id)
	}
	st, err := b.Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, storage.Stats{}, st)
	p, err := b.Notifications(t.Context(), storage.Query{ServiceID: service, Statuses: []storage.Status{storage.StatusDelivered}})
	require.NoError(t, err)
	assert.EqualValues(t, rows, p.Total)
}

// TestOneSignatureAcrossNodes: two uploads, one winner.
func TestOneSignatureAcrossNodes(t *testing.T) {
	a, b := pair(t)
	now := time.Now()
	for i := range 20 {
		r := storage.SigningRequest{
			Token: storage.Digest{byte(i + 1)}, Client: "c", JWT: []byte("jwt"), CreatedAt: now, Deadline: now.Add(time.Minute), ExpiresAt: now.Add(time.Minute),
		}
		require.NoError(t, a.CreateSigningRequest(t.Context(), r))
		_, changed, err := b.DownloadSigningRequest(t.Context(), r.Token, nil)
		require.NoError(t, err)
		require.True(t, changed)
		var winners atomic.Int64
		var wg sync.WaitGroup
		for _, s := range []*Store{a, b, a, b} {
			wg.Go(func() {
				_, changed, err := s.SignSigningRequest(context.Background(), r.Token, []byte(uuid.NewString()), now)
				assert.NoError(t, err)
				if changed {
					winners.Add(1)
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, winners.Load())
	}
}

// TestWakeAcrossNodes: what one node stores, the other hears of.
func TestWakeAcrossNodes(t *testing.T) {
	for _, pooler := range []bool{false, true} {
		t.Run(fmt.Sprintf("pooler=%t", pooler), func(t *testing.T) {
			server, name := database(t)
			a := node(t, Config{DSN: server.DSN(name), Pooler: pooler})
			b := node(t, Config{DSN: server.DSN(name), Pooler: pooler})
			heard := make(chan struct{})
			go func() {
				<-b.Wake()
				close(heard)
			}()
			for deadline := time.Now().Add(10 * time.Second); ; { // until b listens
				_, err := a.Create(t.Context(), sample(time.Now()))
				require.NoError(t, err)
				select {
				case <-heard:
					return
				case <-time.After(announceEvery):
				}
				require.True(t, time.Now().Before(deadline), "not heard")
			}
		})
	}
}
