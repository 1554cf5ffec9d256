package memory

import (
	"cmp"
	"container/heap"
	"time"
)

// item is what a schedule orders: it has an id and counts the places that it
// has taken.
type item interface {
	slot() (id int64, place *int64)
}

// entry is an item's place in a schedule. It is stale when the item has taken
// another place since.
type entry[T item] struct {
	at    time.Time
	id    int64
	place int64
	item  T
}

// schedule orders items by time, then id.
type schedule[T item] struct{ h entries[T] }

type entries[T item] []entry[T]

func (e entries[T]) Len() int      { return len(e) }
func (e entries[T]) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e entries[T]) Less(i, j int) bool {
	return cmp.Or(e[i].at.Compare(e[j].at), cmp.Compare(e[i].id, e[j].id)) < 0
}
func (e *entries[T]) Push(x any) { *e = append(*e, x.(entry[T])) }
func (e *entries[T]) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = entry[T]{}
	*e = (*e)[:last]
	return x
}

// put gives the item its place in this schedule and thereby takes it out of any
// other.
func (s *schedule[T]) put(x T, at time.Time) {
	id, place := x.slot()
	*place++
	heap.Push(&s.h, entry[T]{at: at, id: id, place: *place, item: x})
}

// first returns the earliest item without taking it out.
func (s *schedule[T]) first() (x T, at time.Time, ok bool) {
	for len(s.h) > 0 {
		e := s.h[0]
		if _, place := e.item.slot(); *place == e.place {
			return e.item, e.at, true
		}
		heap.Pop(&s.h)
	}
	return x, time.Time{}, false
}

// drop takes the item out of whatever schedule it is in.
func drop(x item) {
	_, place := x.slot()
	*place++
}
