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
	c   storage.Creation
	out storage.Created
	err error // of this one alone
}

func (c *creation) key() string {
	if c.c.Idempotency == nil {
		return ""
	}
	return c.c.Notification.ServiceID + "\x00" + string(c.c.Idempotency.Key)
}

const storingNotification = "storing a notification"

// Create stores one notification.
func (s *Store) Create(ctx context.Context, c storage.Creation) (storage.Created, error) {
	c, err := c.Normalised()
	if err != nil {
		return storage.Created{}, err
	}
	o := &creation{c: c}
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
		done, err := storeTogether(ctx, c, all, tenants)
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

// rows are new notifications, by column.
type rows struct {
	uuids                                                          [][16]byte
	created, expires                                               []int64
	jobs                                                           []*int64 // nil: all their own
	tenants, versions                                              []int32
	keyNames, keyTypes, recipients, templates, references, senders []string
	subjects, bodies                                               []string
	kinds                                                          []int16
	totals                                                         totals
}

func newRows(all []*creation, tenants []int32) *rows {
	r := &rows{totals: totals{}}
	for i, c := range all {
		n := &c.c.Notification
		r.uuids, r.tenants = append(r.uuids, n.UUID), append(r.tenants, tenants[i])
		r.created, r.expires = append(r.created, asMicro(n.CreatedAt)), append(r.expires, asMicro(n.ExpiresAt))
		if n.JobID != 0 {
			if r.jobs == nil {
				r.jobs = make([]*int64, len(all))
			}
			r.jobs[i] = &n.JobID
		}
		r.versions = append(r.versions, int32(n.TemplateVersion)) //nolint:gosec // counted from 1
		r.keyNames, r.keyTypes = append(r.keyNames, asText(n.KeyName)), append(r.keyTypes, asText(string(n.KeyType)))
		r.recipients, r.templates = append(r.recipients, asText(n.To)), append(r.templates, asText(n.TemplateID))
		r.references, r.senders = append(r.references, asText(n.Reference)), append(r.senders, asText(n.Sender))
		r.subjects, r.bodies = append(r.subjects, asText(n.Subject)), append(r.bodies, asText(n.Body))
		r.kinds = append(r.kinds, kindOf(n))
		r.totals[totalKey{tenants[i], kindOf(n)}]++
	}
	return r
}

// args returns the columns in the order of newColumns.
func (r *rows) args() []any {
	return []any{
		r.uuids, r.created, r.expires, r.jobs, r.tenants, r.versions, r.keyNames, r.keyTypes, r.recipients, r.templates,
		r.references, r.senders, r.subjects, r.bodies, r.kinds,
	}
}

// The rows of new, and how they are stored.
const (
	newTypes = `unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::text[], $9::text[],
		$10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::smallint[]`
	newColumns = `uuid, created_at, expires_at, job, tenant, template_version, key_name, key_type, recipient, template_id, reference,
		sender, subject, body, kind`
	insertNotification = `INSERT INTO signpost.notification (id, uuid, created_at, expires_at, job, tenant, template_version, key_name,
		key_type, recipient, template_id, reference, subject, body) SELECT id, uuid, created_at, expires_at, job, tenant,
		template_version, key_name, key_type, recipient, template_id, reference, subject, body FROM new`
	insertOutbox = `INSERT INTO signpost.outbox (due, id, updated_at, tenant, kind, phase, sender)
		SELECT created_at, id, created_at, tenant, kind, kind >> 3, sender FROM new`
)

// storeTogether reports whether it has stored all; the schema has the function.
func storeTogether(ctx context.Context, c conn, all []*creation, tenants []int32) (bool, error) {
	r := newRows(all, tenants)
	l := countersOf(all)
	var keys, hashes [][]byte // nil: none has a key
	var expires []int64
	for i, c := range all {
		if k := c.c.Idempotency; k != nil {
			if keys == nil {
				keys, hashes, expires = make([][]byte, len(all)), make([][]byte, len(all)), make([]int64, len(all))
			}
			keys[i], hashes[i], expires[i] = k.Key, k.BodyHash, asMicro(k.ExpiresAt)
		}
	}
	sumTenants, sumKinds, sums := r.totals.columns()
	args := append(r.args(), keys, expires, hashes, l.keys, l.n, l.most, l.expires, sumTenants, sumKinds, sums)
	var ids []int64
	err := c.QueryRow(ctx, `SELECT signpost.store_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
		$19, $20, $21, $22, $23, $24, $25)`, args...).Scan(&ids)
	switch codeOf(err) {
	case codeUniqueViolation, codeLimitReached:
		return false, nil
	}
	if err != nil || len(ids) != len(all) {
		return false, err
	}
	for i, c := range all {
		c.stored(ids[i])
	}
	return true, nil
}

// counters are the counters of a batch, by column and in the order of their
// keys.
type counters struct {
	keys             []string
	n, most, expires []int64
}

// countersOf sums up what a batch counts. Of several limits of one counter the
// lowest is taken: if all pass that, each passes its own.
func countersOf(all []*creation) (l counters) {
	type counter struct{ n, most, expires int64 }
	sums := map[string]counter{}
	for _, c := range all {
		for _, limit := range c.c.Limits {
			key := asText(limit.Key)
			v := sums[key]
			v.n++
			v.expires = asMicro(limit.ExpiresAt)
			if limit.Max > 0 && (v.most == 0 || limit.Max < v.most) {
				v.most = limit.Max
			}
			sums[key] = v
		}
	}
	for _, key := range slices.Sorted(maps.Keys(sums)) {
		v := sums[key]
		l.keys, l.n = append(l.keys, key), append(l.n, v.n)
		l.most, l.expires = append(l.most, v.most), append(l.expires, v.expires)
	}
	return l
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
