package memory

import (
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
}

func (s *Store) list(serviceID string) *list {
	l := s.lists[serviceID]
	if l == nil {
		l = &list{totals: map[kind]int64{}}
		s.lists[serviceID] = l
	}
	return l
}

func kindOf(n *storage.Notification) kind { return kind{n.Channel, n.Status} }

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

func selected(q *storage.Query, k kind) bool {
	return (len(q.Channels) == 0 || slices.Contains(q.Channels, k.channel)) &&
		(len(q.Statuses) == 0 || slices.Contains(q.Statuses, k.status))
}

func (l *list) page(q storage.Query) storage.Page {
	var p storage.Page
	for k, n := range l.totals {
		if selected(&q, k) {
			p.Total += n
		}
	}
	if q.Before != 0 || q.Reference != "" {
		p.Total = -1
	} else if q.Offset >= p.Total {
		return p
	}
	skip := q.Offset
	for _, r := range slices.Backward(l.rows) {
		if len(p.Notifications) >= q.Limit {
			break
		}
		if !selected(&q, kindOf(&r.n)) || q.Before != 0 && r.n.ID >= q.Before ||
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
	if l.totals[kind{storage.SMS, storage.StatusCreated}]+l.totals[kind{storage.Email, storage.StatusCreated}] == 0 {
		return t
	}
	for _, r := range l.rows {
		if r.n.Status == storage.StatusCreated {
			return r.n.CreatedAt
		}
	}
	return t
}
