package postgres

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// creation is one caller's Create.
type creation struct {
	c       storage.Creation
	details string // encoded
	out     storage.Created
	err     error // of this one alone
	name    string
}

// key names the idempotency key; "" is none.
func (c *creation) key() string {
	if c.name == "" && c.c.Idempotency != nil {
		c.name = c.c.Notification.ServiceID + "\x00" + string(c.c.Idempotency.Key)
	}
	return c.name
}

const storingNotification = "storing a notification"

// Create stores one notification.
func (s *Store) Create(ctx context.Context, c storage.Creation) (storage.Created, error) {
	c, err := c.Normalised()
	if err != nil {
		return storage.Created{}, err
	}
	details, err := c.Notification.Details.Encode()
	if err != nil {
		return storage.Created{}, err
	}
	o := &creation{c: c, details: details}
	if err := write(ctx, s, &s.creations, storingNotification, o); err != nil {
		return storage.Created{}, err
	}
	return o.out, nil
}

// runCreations stores a batch in one statement if nothing stands in the way of
// any of it. Otherwise each is decided upon by itself, in one transaction.
func (s *Store) runCreations(ctx context.Context, timeout time.Duration, batch []*op[*creation]) {
	all := make([]*creation, len(batch))
	for i, o := range batch {
		all[i] = o.arg
	}
	if len(all) > 1 { // so that two nodes can't wait for each other's keys
		slices.SortStableFunc(all, func(a, b *creation) int { return cmp.Compare(a.key(), b.key()) })
	}
	err := s.attempt(ctx, storingNotification, timeout, func(ctx context.Context, c conn) error {
		tenants, err := s.tenants.of(ctx, c, all)
		if err != nil {
			return err
		}
		done, err := s.storeTogether(ctx, c, all, tenants)
		if done || err != nil {
			return err
		}
		return storeSingly(ctx, c, all, tenants)
	}, again)
	stored := false
	for _, o := range batch {
		if o.err = err; err == nil {
			o.err = o.arg.err
			stored = stored || o.err == nil && !o.arg.out.Replayed
		}
	}
	if stored {
		s.created()
	}
}

// stored notes that the creation has become a notification.
func (c *creation) stored(id int64) {
	c.out, c.err = storage.Created{Notification: c.c.Notification}, nil
	n := &c.out.Notification
	n.ID = id
	if n.JobID == 0 {
		n.JobID = id
	}
}

// tenants remembers the numbers of services.
type tenants struct {
	mu sync.RWMutex
	no map[string]int32
}

// of returns the number of each creation's service. New services get one, for
// good, whatever becomes of the creation.
func (t *tenants) of(ctx context.Context, c conn, all []*creation) ([]int32, error) {
	out := make([]int32, len(all))
	missing := map[string]bool{}
	t.mu.RLock()
	for i, c := range all {
		no, ok := t.no[c.c.Notification.ServiceID]
		if !ok {
			missing[c.c.Notification.ServiceID] = true
		}
		out[i] = no
	}
	t.mu.RUnlock()
	if len(missing) == 0 {
		return out, nil
	}
	found, err := numbered(ctx, c, slices.Sorted(maps.Keys(missing)))
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.no == nil {
		t.no = map[string]int32{}
	}
	maps.Copy(t.no, found)
	for i, c := range all {
		if id := c.c.Notification.ServiceID; missing[id] {
			out[i] = found[id]
		}
	}
	return out, nil
}

// forget is called when the server may have become another, which was behind.
func (t *tenants) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.no)
}

func numbered(ctx context.Context, c conn, services []string) (map[string]int32, error) {
	ids := make([]string, len(services))
	for i, id := range services {
		ids[i] = asText(id)
	}
	if _, err := c.Exec(ctx, `INSERT INTO signpost.tenant (id) SELECT unnest($1::text[])
		EXCEPT SELECT id FROM signpost.tenant ORDER BY 1 ON CONFLICT DO NOTHING`, ids); err != nil {
		return nil, err
	}
	rows, err := c.Query(ctx, `SELECT no, id FROM signpost.tenant WHERE id = ANY ($1::text[])`, ids)
	if err != nil {
		return nil, err
	}
	out := map[string]int32{}
	var no int32
	var id string
	_, err = pgx.ForEachRow(rows, []any{&no, &id}, func() error {
		out[fromText(id)] = no
		return nil
	})
	return out, err
}
