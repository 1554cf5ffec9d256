package memory

import (
	"cmp"
	"container/heap"
	"time"
)

// entry is a row's place in a schedule. It is stale when the row has taken
// another place since.
type entry struct {
	at    time.Time
	id    int64
	place int64
	row   *row
}

// schedule orders rows by time, then id.
type schedule struct{ h entries }

type entries []entry

func (e entries) Len() int      { return len(e) }
func (e entries) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e entries) Less(i, j int) bool {
	return cmp.Or(e[i].at.Compare(e[j].at), cmp.Compare(e[i].id, e[j].id)) < 0
}
func (e *entries) Push(x any) { *e = append(*e, x.(entry)) }
func (e *entries) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = entry{}
	*e = (*e)[:last]
	return x
}

// put gives the row its place in this schedule and thereby takes it out of any
// other.
func (s *schedule) put(r *row, at time.Time) {
	r.place++
	heap.Push(&s.h, entry{at: at, id: r.n.ID, place: r.place, row: r})
}

// first returns the earliest row without taking it out.
func (s *schedule) first() (r *row, at time.Time, ok bool) {
	for len(s.h) > 0 {
		if e := s.h[0]; e.row.place == e.place {
			return e.row, e.at, true
		}
		heap.Pop(&s.h)
	}
	return nil, time.Time{}, false
}
