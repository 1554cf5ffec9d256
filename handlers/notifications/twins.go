package notifications

import "sync"

// twins makes concurrent repetitions of one request wait for the first, so
// that they answer what it answers and don't use up the rate limit against it.
// Repetitions on other nodes are the storage's affair.
type twins struct {
	running sync.Map // of chan struct{}, by token MAC
}

// begin reports whether the request is the first. The channel is closed when
// the first has ended.
func (t *twins) begin(mac [32]byte) (first bool, done chan struct{}) {
	done = make(chan struct{})
	if other, running := t.running.LoadOrStore(mac, done); running {
		return false, other.(chan struct{}) //nolint:errcheck,forcetypeassert // nothing else is stored
	}
	return true, done
}

// end ends the first.
func (t *twins) end(mac [32]byte, done chan struct{}) {
	t.running.Delete(mac)
	close(done)
}
