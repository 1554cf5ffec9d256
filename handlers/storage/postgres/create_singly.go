package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// deciding is what is known of a batch while each creation is decided upon by
// itself. Its keys and counters are locked.
type deciding struct {
	all     []*creation
	tenants []int32
	keys    map[string]*storedKey // by creation.key
	counts  map[string]*count
	uuids   map[[16]byte]bool // taken
	ids     []int64           // for those that are stored
}

// storedKey is the row of an idempotency key, which the transaction has made
// when it has no notification.
type storedKey struct {
	tenant      int32
	key         []byte
	id, expires int64
	hash        []byte
	of          *storage.Notification // nil: none, or swept
	by          *creation             // that takes it
}

// count is the row of a counter.
type count struct {
	value, most, expires int64
	changed              bool
}

// storeSingly decides upon each creation in turn and stores those that may be.
func storeSingly(ctx context.Context, c conn, all []*creation, tenants []int32) error {
	d := &deciding{
		all: all, tenants: tenants, keys: map[string]*storedKey{}, counts: map[string]*count{}, uuids: map[[16]byte]bool{},
	}
	var accepted []*creation
	return transaction(ctx, c, d.lock, func(b *pgx.Batch) error {
		accepted = accepted[:0]
		for _, c := range all {
			if c.err = d.decide(c); c.err == nil && !c.out.Replayed {
				accepted = append(accepted, c)
			}
		}
		if len(accepted) > 0 {
			d.store(b, accepted)
		}
		return nil
	})
}

// lock takes keys and counters, in the order in which store_3 takes them, and
// reads what they say. What isn't there is made, so that it can be locked.
func (d *deciding) lock(b *pgx.Batch) {
	var keyTenants []int32
	keys := [][]byte{}
	uuids := make([][16]byte, len(d.all))
	for i, c := range d.all {
		uuids[i] = c.c.Notification.UUID
		if k := c.c.Idempotency; k != nil {
			keyTenants, keys = append(keyTenants, d.tenants[i]), append(keys, k.Key)
			d.keys[c.key()] = &storedKey{tenant: d.tenants[i], key: k.Key}
		}
	}
	if len(keys) > 0 {
		d.lockKeys(b, keyTenants, keys)
	}
	if l := countersOf(d.all); len(l.keys) > 0 {
		b.Queue(`INSERT INTO signpost.counter (key, value, most, expires_at) SELECT u.key, 0, 0, u.expires_at
			FROM unnest($1::text[], $2::bigint[]) AS u (key, expires_at) ORDER BY 1 ON CONFLICT DO NOTHING`, l.keys, l.expires)
		b.Queue(`SELECT key, value, most, expires_at FROM signpost.counter WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE`, l.keys).
			Query(func(rows pgx.Rows) error {
				var key string
				var v count
				_, err := pgx.ForEachRow(rows, []any{&key, &v.value, &v.most, &v.expires}, func() error {
					d.counts[key] = new(v)
					return nil
				})
				return err
			})
	}
	b.Queue(`SELECT uuid FROM signpost.notification WHERE uuid = ANY ($1::uuid[])`, uuids).Query(func(rows pgx.Rows) error {
		var id [16]byte
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
			d.uuids[id] = true
			return nil
		})
		return err
	})
	b.Queue(`SELECT nextval('signpost.notification_id') FROM generate_series(1, $1::int)`, len(d.all)).Query(func(rows pgx.Rows) (err error) {
		d.ids, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
}

func (d *deciding) lockKeys(b *pgx.Batch, tenants []int32, keys [][]byte) {
	b.Queue(`INSERT INTO signpost.idempotency (tenant, key, id, expires_at) SELECT u.tenant, u.key, 0, 0
		FROM unnest($1::int[], $2::bytea[]) WITH ORDINALITY AS u (tenant, key, place) ORDER BY u.place ON CONFLICT DO NOTHING`, tenants, keys)
	var found []*storedKey
	b.Queue(`SELECT i.tenant, i.key, i.id, i.expires_at, i.body_hash FROM signpost.idempotency AS i
		JOIN unnest($1::int[], $2::bytea[]) WITH ORDINALITY AS u (tenant, key, place) ON u.tenant = i.tenant AND u.key = i.key
		ORDER BY u.place FOR UPDATE OF i`, tenants, keys).Query(func(rows pgx.Rows) (err error) {
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*storedKey, error) {
			k := &storedKey{}
			return k, row.Scan(&k.tenant, &k.key, &k.id, &k.expires, &k.hash)
		})
		return err
	})
	// The keys' notifications, in a statement after that which has locked the
	// keys: whoever held them has committed.
	b.Queue(`SELECT `+columns+fromNotification+`WHERE n.id IN (SELECT i.id FROM signpost.idempotency AS i
		JOIN unnest($1::int[], $2::bytea[]) AS u (tenant, key) ON u.tenant = i.tenant AND u.key = i.key)`, tenants, keys).
		Query(func(rows pgx.Rows) error {
			of, err := pgx.CollectRows(rows, decode)
			if err != nil {
				return err
			}
			for _, want := range d.keys {
				i := slices.IndexFunc(found, func(k *storedKey) bool { return k.tenant == want.tenant && bytes.Equal(k.key, want.key) })
				if i < 0 {
					return errors.New("an idempotency key has vanished while it was locked")
				}
				*want = *found[i]
				for j := range of {
					if of[j].ID == want.id {
						want.of = &of[j]
					}
				}
			}
			return nil
		})
}

// decide answers a replay or a refusal, or takes what the creation needs.
func (d *deciding) decide(c *creation) error {
	c.out = storage.Created{}
	key := d.keys[c.key()]
	if key != nil && key.of != nil && key.expires >= asMicro(c.c.Notification.CreatedAt) {
		if storage.Mismatch(key.hash, c.c.Idempotency.BodyHash) {
			return storage.ErrIdempotencyMismatch
		}
		c.out = storage.Created{Notification: *key.of, Replayed: true}
		return nil
	}
	if d.uuids[c.c.Notification.UUID] {
		return storage.ErrExists
	}
	if err := d.room(c.c.Limits); err != nil {
		return err
	}
	d.uuids[c.c.Notification.UUID] = true
	if key != nil {
		key.by = c
	}
	return nil
}

// room counts all the limits or none.
func (d *deciding) room(limits []storage.Limit) error {
	for i, l := range limits {
		v := d.counts[asText(l.Key)]
		if v == nil {
			return errors.New("a counter has vanished while it was locked")
		}
		if l.Max > 0 && v.value >= l.Max {
			for _, done := range limits[:i] {
				d.counts[asText(done.Key)].value--
			}
			return &storage.LimitError{Key: l.Key, Max: l.Max}
		}
		v.value++
	}
	for _, l := range limits {
		v := d.counts[asText(l.Key)]
		v.most, v.expires, v.changed = max(l.Max, 0), asMicro(l.ExpiresAt), true
	}
	return nil
}

// store adds the statements that store what was accepted, and remove what was
// made only to be locked.
func (d *deciding) store(b *pgx.Batch, accepted []*creation) {
	tenants := make([]int32, len(accepted))
	for i, c := range accepted {
		tenants[i] = d.tenants[slices.Index(d.all, c)]
		c.stored(d.ids[i])
	}
	r := newRows(accepted, tenants)
	args := append(r.args(), d.ids[:len(accepted)])
	from := `WITH new AS (SELECT * FROM ` + newTypes + `, $18::bigint[]) AS u (` + newColumns + `, id)), queued AS (` + insertOutbox + `) `
	b.Queue(from+insertNotification, args...)
	d.storeKeys(b)
	d.storeCounts(b)
	sumTenants, sumKinds, sums := totalsOf(accepted, tenants).columns()
	b.Queue(changeTotals, sumTenants, sumKinds, sums)
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
	details                                                        []string
	due                                                            []int64
}

func newRows(all []*creation, tenants []int32) *rows {
	r := &rows{}
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
		r.kinds, r.details = append(r.kinds, kindOf(n)), append(r.details, asText(c.details))
		r.due = append(r.due, asMicro(n.DueAt()))
	}
	return r
}

// args returns the columns in the order of newColumns.
func (r *rows) args() []any {
	return []any{
		r.uuids, r.created, r.expires, r.jobs, r.tenants, r.versions, r.keyNames, r.keyTypes, r.recipients, r.templates,
		r.references, r.senders, r.subjects, r.bodies, r.kinds, r.details, r.due,
	}
}

// The rows of new, and how they are stored.
const (
	newTypes = `unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::text[], $9::text[],
		$10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::smallint[], $16::text[], $17::bigint[]`
	newColumns = `uuid, created_at, expires_at, job, tenant, template_version, key_name, key_type, recipient, template_id, reference,
		sender, subject, body, kind, details, due`
	insertNotification = `INSERT INTO signpost.notification (id, uuid, created_at, expires_at, job, tenant, template_version, key_name,
		key_type, recipient, template_id, reference, subject, body, details) SELECT id, uuid, created_at, expires_at, job, tenant,
		template_version, key_name, key_type, recipient, template_id, reference, subject, body, details FROM new`
	insertOutbox = `INSERT INTO signpost.outbox (due, id, updated_at, tenant, kind, phase, sender, special)
		SELECT due, id, created_at, tenant, kind, kind >> 3, sender, key_type <> 'normal' FROM new`
)

func (d *deciding) storeKeys(b *pgx.Batch) {
	var tenants []int32
	var keys, hashes [][]byte
	var ids, expires []int64
	for _, k := range d.keys {
		if k.by == nil {
			continue
		}
		i := k.by.c.Idempotency
		tenants, keys, hashes = append(tenants, k.tenant), append(keys, k.key), append(hashes, i.BodyHash)
		ids, expires = append(ids, k.by.out.Notification.ID), append(expires, asMicro(i.ExpiresAt))
	}
	if len(keys) > 0 {
		b.Queue(`UPDATE signpost.idempotency AS i SET id = u.id, expires_at = u.expires_at, body_hash = u.body_hash
			FROM unnest($1::int[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[]) AS u (tenant, key, id, expires_at, body_hash)
			WHERE i.tenant = u.tenant AND i.key = u.key`, tenants, keys, ids, expires, hashes)
	}
	tenants, keys = nil, nil
	for _, k := range d.keys {
		if k.id == 0 && k.by == nil {
			tenants, keys = append(tenants, k.tenant), append(keys, k.key)
		}
	}
	if len(keys) > 0 {
		b.Queue(`DELETE FROM signpost.idempotency AS i USING unnest($1::int[], $2::bytea[]) AS u (tenant, key)
			WHERE i.tenant = u.tenant AND i.key = u.key AND i.id = 0`, tenants, keys)
	}
}

func (d *deciding) storeCounts(b *pgx.Batch) {
	var keys, unused []string
	var values, most, expires []int64
	for key, v := range d.counts {
		switch {
		case v.changed:
			keys, values = append(keys, key), append(values, v.value)
			most, expires = append(most, v.most), append(expires, v.expires)
		case v.value == 0:
			unused = append(unused, key)
		}
	}
	if len(keys) > 0 {
		b.Queue(`UPDATE signpost.counter AS c SET value = u.value, most = u.most, expires_at = u.expires_at
			FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (key, value, most, expires_at)
			WHERE c.key = u.key`, keys, values, most, expires)
	}
	if len(unused) > 0 {
		b.Queue(`DELETE FROM signpost.counter WHERE key = ANY ($1::text[]) AND value = 0`, unused)
	}
}
