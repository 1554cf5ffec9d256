package memory

import (
	"cmp"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// list is one service's notifications by ascending id, with their counts.
type list struct {
	rows   []*row
	totals map[kind]int64
}

type kind struct {
	channel storage.Channel
	status  storage.Status
	key     storage.KeyType
}

func (s *Store) list(serviceID string) *list {
	l := s.lists[serviceID]
	if l == nil {
		l = &list{totals: map[kind]int64{}}
		s.lists[serviceID] = l
	}
	return l
}

func kindOf(n *storage.Notification) kind { return kind{n.Channel, n.Status, n.KeyType} }

func (l *list) add(r *row) {
	l.rows = append(l.rows, r)
	l.totals[kindOf(&r.n)]++
}

// moved keeps the counts right when a row has changed its status.
func (l *list) moved(from, to kind) {
	l.totals[from]--
	l.totals[to]++
}

// remove takes out the rows that gone holds.
func (l *list) remove(gone map[*row]bool) {
	l.rows = slices.DeleteFunc(l.rows, func(r *row) bool {
		if gone[r] {
			l.totals[kindOf(&r.n)]--
		}
		return gone[r]
	})
}

func (l *list) page(q storage.Query) storage.Page {
	var p storage.Page
	for k, n := range l.totals {
		if q.Selects(k.channel, k.status, k.key) {
			p.Total += n
		}
	}
	if q.Offset >= p.Total {
		p.Total = q.Counted(p.Total)
		return p
	}
	p.Total = q.Counted(p.Total)
	rows := l.rows
	if q.Before != 0 {
		end, _ := slices.BinarySearchFunc(rows, q.Before, func(r *row, id int64) int { return cmp.Compare(r.n.ID, id) })
		rows = rows[:end]
	}
	skip := q.Offset
	for _, r := range slices.Backward(rows) {
		if len(p.Notifications) >= q.Limit {
			break
		}
		if !q.Selects(r.n.Channel, r.n.Status, r.n.KeyType) ||
			q.Reference != "" && r.n.Reference != q.Reference {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		p.Notifications = append(p.Notifications, r.n)
	}
	return p
}

// oldestQueued returns when the first queued notification was created, the
// zero time when none is queued.
func (l *list) oldestQueued() (t time.Time) {
	queued := int64(0)
	for k, n := range l.totals {
		if k.status == storage.StatusCreated {
			queued += n
		}
	}
	if queued == 0 {
		return t
	}
	for _, r := range l.rows {
		if r.n.Status == storage.StatusCreated {
			return r.n.CreatedAt
		}
	}
	return t
}
