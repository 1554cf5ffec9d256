package sqlite

import (
	"context"
	"database/sql/driver"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Create stores one notification.
func (s *Store) Create(ctx context.Context, c storage.Creation) (storage.Created, error) {
	c, err := c.Normalised()
	if err != nil {
		return storage.Created{}, err
	}
	args, err := insertArgs(&c.Notification)
	if err != nil {
		return storage.Created{}, err
	}
	p := creation{c: &c, args: args}
	if c.Idempotency != nil {
		p.hash = s.keys.hash(c.Notification.ServiceID, c.Idempotency.Key)
	}
	var out storage.Created
	err = s.write(ctx, "storing a notification", func(w *writer) (err error) {
		out, err = w.create(&p)
		return err
	})
	if err != nil {
		return storage.Created{}, err
	}
	return out, nil
}

// creation is a Creation with what its caller prepares for the writer.
type creation struct {
	c    *storage.Creation
	args []driver.NamedValue
	hash keyHash
}

func (w *writer) create(p *creation) (storage.Created, error) {
	n := p.c.Notification
	if p.c.Idempotency != nil {
		old, err := w.replayed(p)
		if err != nil || old != nil {
			return storage.Created{Notification: valueOf(old), Replayed: true}, err
		}
	}
	if err := w.roomFor(p.c.Limits); err != nil {
		return storage.Created{}, err
	}
	tenant, err := w.tenant(n.ServiceID)
	if err != nil {
		return storage.Created{}, err
	}
	id := w.m.lastID + 1
	n.ID = id
	if n.JobID == 0 {
		n.JobID = id
	}
	p.args[argID].Value, p.args[argTenant].Value, p.args[argJob].Value = id, tenant, n.JobID
	changed, err := w.c.execNamed(w.ctx, insertNotification, p.args)
	if err != nil {
		return storage.Created{}, err
	}
	if changed == 0 { // the UUID is taken
		return storage.Created{}, storage.ErrExists
	}
	if i := p.c.Idempotency; i != nil {
		if _, err := w.c.exec(w.ctx, `INSERT INTO idempotency (id, tenant, key, body_hash, expires_at) VALUES (?, ?, ?, ?, ?)`,
			id, tenant, i.Key, i.BodyHash, i.ExpiresAt); err != nil {
			return storage.Created{}, err
		}
		w.m.idempotency.set(p.hash, id)
	}
	w.m.lastID = id
	w.m.addTotal(totalKey{tenant, kindOf(&n)}, 1)
	for _, l := range p.c.Limits {
		w.m.setCount(l.Key, count{w.m.counts[l.Key].value + 1, asMicro(l.ExpiresAt)})
	}
	w.m.created = true
	return storage.Created{Notification: n}, nil
}

func valueOf(n *storage.Notification) storage.Notification {
	if n == nil {
		return storage.Notification{}
	}
	return *n
}

// replayed returns the notification of an earlier request with the key, nil
// when there is none.
func (w *writer) replayed(p *creation) (*storage.Notification, error) {
	id, known := w.m.idempotency.get(p.hash)
	if !known {
		return nil, nil
	}
	var hash []byte
	var expires int64
	if err := w.c.query(w.ctx, func(row []driver.Value) error {
		hash, expires = asBytes(row[0]), asInt(row[1])
		return nil
	}, `SELECT body_hash, expires_at FROM idempotency WHERE id = ?`, id); err != nil {
		return nil, err
	}
	if expires < asMicro(p.c.Notification.CreatedAt) {
		return nil, nil
	}
	r, err := w.record(id)
	if err != nil || r == nil { // swept before its key
		return nil, err
	}
	if storage.Mismatch(hash, p.c.Idempotency.BodyHash) {
		return nil, storage.ErrIdempotencyMismatch
	}
	return &r.n, nil
}

// roomFor reports the first limit that is reached. A limit that is named twice
// needs room for two.
func (w *writer) roomFor(limits []storage.Limit) error {
	for i, l := range limits {
		used := w.m.counts[l.Key].value
		for _, before := range limits[:i] {
			if before.Key == l.Key {
				used++
			}
		}
		if l.Max > 0 && used >= l.Max {
			return &storage.LimitError{Key: l.Key, Max: l.Max}
		}
	}
	return nil
}

// tenant returns the number of a service in the tables of notifications.
func (w *writer) tenant(serviceID string) (int64, error) {
	if no, ok := w.m.tenants[serviceID]; ok {
		return no, nil
	}
	no, _, err := w.c.one(w.ctx, `INSERT INTO tenant (id) VALUES (?) RETURNING no`, serviceID)
	if err != nil {
		return 0, err
	}
	w.m.addTenant(serviceID, no)
	return no, nil
}

// record returns a notification's row, nil when there is none.
func (w *writer) record(id int64) (*record, error) {
	return w.c.record(w.ctx, `WHERE n.id = ?`, id)
}

func (c *conn) record(ctx context.Context, where string, args ...any) (*record, error) {
	var found *record
	err := c.query(ctx, func(row []driver.Value) error {
		r, err := decode(row)
		found = &r
		return err
	}, `SELECT `+columns+fromNotification+where, args...)
	return found, err
}
