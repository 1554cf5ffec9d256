package sqlite

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
)

// mirror is what the writer knows without asking the database. Each batch
// changes it as it goes; commit keeps the changes and rollback undoes them.
// Only the writer uses it.
type mirror struct {
	lastID  int64
	tenants map[string]int64
	totals  map[totalKey]int64
	queued  queued // sums of totals
	counts  map[string]count

	callbacks int64 // rows that are owed

	idempotency *keyIndex // to the notification's id
	replays     *keyIndex // to the expiry in microseconds

	// What the present batch has changed, with the values from before.
	oldLastID  int64
	newTenants []string
	oldTotals  map[totalKey]int64
	oldCounts  map[string]count
	oldOwed    int64
	created    bool    // anything, so that the dispatcher wakes
	changed    []int64 // notifications that were there before
}

type totalKey struct{ tenant, kind int64 }

// queued are the numbers of queued notifications by channel.
type queued [phaseEmail + 1]int64

func (q *queued) add(k totalKey, delta int64) {
	if c := channelOf(k.kind); k.kind%perChannel == 0 && c > 0 && c < int64(len(q)) {
		q[c] += delta
	}
}

type count struct{ value, expires int64 }

func newMirror() *mirror {
	return &mirror{
		tenants: map[string]int64{}, totals: map[totalKey]int64{}, counts: map[string]count{},
		idempotency: newKeyIndex(), replays: newKeyIndex(),
		oldTotals: map[totalKey]int64{}, oldCounts: map[string]count{},
	}
}

// load fills the mirror from the database.
func (m *mirror) load(ctx context.Context, c *conn) error {
	id, _, err := c.one(ctx, `SELECT max(coalesce((SELECT max(id) FROM notification), 0),
		coalesce((SELECT cast(value AS INTEGER) FROM meta WHERE name = 'last_id'), 0))`)
	if err != nil {
		return err
	}
	m.lastID, m.oldLastID = id, id
	if m.callbacks, _, err = c.one(ctx, `SELECT count(*) FROM callback`); err != nil {
		return err
	}
	for text, each := range map[string]func(v []driver.Value){
		`SELECT id, no FROM tenant`:                  func(v []driver.Value) { m.tenants[asText(v[0])] = asInt(v[1]) },
		`SELECT tenant, kind, n FROM total`:          func(v []driver.Value) { m.totals[totalKey{asInt(v[0]), asInt(v[1])}] = asInt(v[2]) },
		`SELECT key, value, expires_at FROM counter`: func(v []driver.Value) { m.counts[asText(v[0])] = count{asInt(v[1]), asInt(v[2])} },
		`SELECT service_id, key, expires_at FROM replay ORDER BY no`: func(v []driver.Value) {
			m.replays.set(m.replays.hash(asText(v[0]), asBytes(v[1])), asInt(v[2]))
		},
		`SELECT t.id, i.key, i.id FROM idempotency AS i JOIN tenant AS t ON t.no = i.tenant ORDER BY i.id`: func(v []driver.Value) {
			m.idempotency.set(m.idempotency.hash(asText(v[0]), asBytes(v[1])), asInt(v[2]))
		},
	} {
		err := c.query(ctx, func(row []driver.Value) error { each(row); return nil }, text)
		if err != nil {
			return err
		}
	}
	for k, n := range m.totals {
		m.queued.add(k, n)
	}
	m.commit()
	return nil
}

func (m *mirror) addTotal(k totalKey, delta int64) {
	if _, ok := m.oldTotals[k]; !ok {
		m.oldTotals[k] = m.totals[k]
	}
	m.totals[k] += delta
	m.queued.add(k, delta)
}

// setCount changes a counter; the zero count stands for none.
func (m *mirror) setCount(key string, v count) {
	if _, ok := m.oldCounts[key]; !ok {
		m.oldCounts[key] = m.counts[key]
	}
	if v == (count{}) {
		delete(m.counts, key)
		return
	}
	m.counts[key] = v
}

func (m *mirror) addTenant(id string, no int64) {
	m.tenants[id] = no
	m.newTenants = append(m.newTenants, id)
}

// flush stores what changed in totals and counters, once a batch.
func (m *mirror) flush(ctx context.Context, c *conn) error {
	for k, old := range m.oldTotals {
		if m.totals[k] == old {
			continue
		}
		if _, err := c.exec(ctx, `INSERT INTO total (tenant, kind, n) VALUES (?, ?, ?)
			ON CONFLICT (tenant, kind) DO UPDATE SET n = excluded.n`, k.tenant, k.kind, m.totals[k]); err != nil {
			return err
		}
	}
	for k := range m.oldCounts {
		v, ok := m.counts[k]
		if !ok {
			continue // deleted by the sweep itself
		}
		if _, err := c.exec(ctx, `INSERT INTO counter (key, value, expires_at) VALUES (?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at`, k, v.value, v.expires); err != nil {
			return err
		}
	}
	return nil
}

func (m *mirror) commit() {
	m.idempotency.commit()
	m.replays.commit()
	m.forget()
}

func (m *mirror) rollback() {
	m.lastID, m.callbacks = m.oldLastID, m.oldOwed
	for _, id := range m.newTenants {
		delete(m.tenants, id)
	}
	for k, old := range m.oldTotals {
		m.queued.add(k, old-m.totals[k])
	}
	maps.Copy(m.totals, m.oldTotals)
	for k, v := range m.oldCounts {
		if v == (count{}) {
			delete(m.counts, k)
		} else {
			m.counts[k] = v
		}
	}
	m.idempotency.rollback()
	m.replays.rollback()
	m.forget()
}

func (m *mirror) forget() {
	m.oldLastID, m.oldOwed = m.lastID, m.callbacks
	m.newTenants = m.newTenants[:0]
	clear(m.oldTotals)
	clear(m.oldCounts)
	m.created = false
	m.changed = m.changed[:0]
}

// keyIndex finds keys by a hash of service and key. Readers may use it beside
// the writer; they find the keys of a batch before it is durable, and then
// don't find its rows.
type keyIndex struct {
	salt [16]byte

	mu    sync.RWMutex
	known map[keyHash]int64
	undo  []keyUndo
}

// reset empties the index.
func (x *keyIndex) reset() *keyIndex {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.known)
	x.undo = x.undo[:0]
	return x
}

// keyHash is long enough that two keys never share one.
type keyHash [16]byte

type keyUndo struct {
	hash keyHash
	old  int64
	had  bool
}

func newKeyIndex() *keyIndex {
	x := &keyIndex{known: map[keyHash]int64{}}
	_, _ = rand.Read(x.salt[:]) // never fails (Go 1.24)
	return x
}

func (x *keyIndex) hash(serviceID string, key []byte) keyHash {
	b := make([]byte, 0, 160)
	b = append(b, x.salt[:]...)
	b = binary.AppendUvarint(b, uint64(len(serviceID)))
	b = append(b, serviceID...)
	b = append(b, key...)
	sum := sha256.Sum256(b)
	return keyHash(sum[:16])
}

func (x *keyIndex) get(h keyHash) (int64, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	v, ok := x.known[h]
	return v, ok
}

func (x *keyIndex) set(h keyHash, v int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old, had := x.known[h]
	x.undo = append(x.undo, keyUndo{h, old, had})
	x.known[h] = v
}

// drop forgets a key if it still has that value.
func (x *keyIndex) drop(h keyHash, v int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if old, had := x.known[h]; had && old == v {
		x.undo = append(x.undo, keyUndo{h, old, had})
		delete(x.known, h)
	}
}

func (x *keyIndex) commit() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if cap(x.undo) > 1<<16 {
		x.undo = nil // a large sweep's
	}
	x.undo = x.undo[:0]
}

func (x *keyIndex) rollback() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, u := range slices.Backward(x.undo) {
		if u.had {
			x.known[u.hash] = u.old
		} else {
			delete(x.known, u.hash)
		}
	}
	x.undo = x.undo[:0]
}
