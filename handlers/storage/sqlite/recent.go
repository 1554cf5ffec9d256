package sqlite

import (
	"sync"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	// maxRecent and maxRecentBody bound the memory of recent to about 5 MiB.
	maxRecent     = 1024
	maxRecentBody = 4 << 10
)

// recent keeps notifications that were read by their id, because whoever waits
// for a status asks for the same one again and again. It never holds what the
// database doesn't: the writer drops what a transaction changes before the
// commit, and nothing that was read beside a commit is kept.
type recent struct {
	mu      sync.RWMutex
	version uint64 // odd during a commit
	rows    map[int64]storage.Notification
}

// get returns a notification of the service if it is known, and otherwise what
// put needs.
func (x *recent) get(serviceID string, id int64) (n storage.Notification, version uint64, ok bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, ok = x.rows[id]
	return n, x.version, ok && n.ServiceID == serviceID
}

// put keeps what was read after get, unless a commit came between.
func (x *recent) put(n *storage.Notification, version uint64) {
	if len(n.Body)+len(n.Subject) > maxRecentBody || version%2 != 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.version != version {
		return
	}
	if x.rows == nil {
		x.rows = make(map[int64]storage.Notification)
	}
	if len(x.rows) >= maxRecent {
		for id := range x.rows { // any one
			delete(x.rows, id)
			break
		}
	}
	x.rows[n.ID] = *n
}

// commit runs the commit of a transaction that has changed these ids.
func (x *recent) commit(ids []int64, commit func() error) error {
	x.mu.Lock()
	x.version++
	for _, id := range ids {
		delete(x.rows, id)
	}
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.version++
	}()
	return commit()
}

// reset forgets everything.
func (x *recent) reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.rows)
}
