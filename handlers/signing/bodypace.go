package signing

import (
	"io"
	"net/http"
	"os"
	"time"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// pace is how fast a body must arrive.
type pace struct {
	idle  time.Duration // between two bytes
	total time.Duration
	// rate, unless 0, is how many bytes a second there must be after grace.
	rate  int64
	grace time.Duration
}

var (
	// bodyPace is for bodies that are needed. What has come of one holds its
	// memory all that time.
	bodyPace = pace{idle: 5 * time.Second, total: bodyTimeout, rate: 4 << 10, grace: 5 * time.Second}
	// drainPace is for those that are thrown away.
	drainPace = pace{idle: time.Second, total: 5 * time.Second}
)

const (
	bodyTimeout = 20 * time.Second
	// maxDrain is up to which length a refused body is read to its end, in
	// bytes: those that are a little too long are to see the answer, too.
	maxDrain = 2 << 20
	// maxDrains is the number of bodies that are thrown away at once.
	maxDrains = 256
)

// pacer reads a body as fast as it must arrive, and fails with
// [os.ErrDeadlineExceeded] when it doesn't.
type pacer struct {
	pace

	src     io.Reader
	control *http.ResponseController
	started time.Time
	last    time.Time // when the last byte came
	arrived int64
}

func newPacer(w http.ResponseWriter, r *http.Request, p pace) *pacer {
	now := time.Now()
	return &pacer{pace: p, src: r.Body, control: http.NewResponseController(w), started: now, last: now}
}

func (p *pacer) deadline() time.Time {
	end := p.started.Add(p.total)
	if idle := p.last.Add(p.idle); idle.Before(end) {
		end = idle
	}
	if p.rate > 0 {
		credit := time.Duration(p.arrived) * time.Second / time.Duration(p.rate)
		if slow := p.started.Add(p.grace + credit); slow.Before(end) {
			end = slow
		}
	}
	return end
}

// Read implements io.Reader.
func (p *pacer) Read(b []byte) (int, error) {
	// Writers without deadlines get at least this check.
	end := p.deadline()
	if !time.Now().Before(end) {
		return 0, os.ErrDeadlineExceeded
	}
	_ = p.control.SetReadDeadline(end)
	n, err := p.src.Read(b)
	if n > 0 {
		p.arrived += int64(n)
		p.last = time.Now()
	}
	return n, err
}

// pause calls a function whose time isn't the sender's.
func (p *pacer) pause(wait func() error) error {
	_ = p.control.SetReadDeadline(time.Time{}) // HTTP/2 fails a body by it even when nobody reads
	began := time.Now()
	err := wait()
	now := time.Now()
	p.started, p.last = p.started.Add(now.Sub(began)), now
	return err
}

// end takes the deadline away again.
func (p *pacer) end() { _ = p.control.SetReadDeadline(time.Time{}) }

// drain is called after a refusal was written. It throws the rest of the body
// away as it comes: a client that goes on sending must see the answer and no
// reset connection. HTTP/2 and 3 need no such help; and whoever waits for "100
// Continue" doesn't send.
func (b *bodies) drain(w http.ResponseWriter, r *http.Request) {
	if !notifyauth.AnnouncesBody(r) || r.ProtoMajor > 1 || r.Header.Get("Expect") != "" || r.ContentLength > maxDrain {
		return
	}
	select {
	case b.drains <- struct{}{}:
	default:
		return
	}
	defer func() { <-b.drains }()
	src := newPacer(w, r, drainPace)
	if src.control.Flush() != nil || src.control.SetReadDeadline(src.deadline()) != nil {
		return
	}
	p := newPiece()
	defer usedPieces.Put(p)
	for err := error(nil); err == nil && src.arrived < maxDrain; { // it ends with the pace at the latest
		_, err = src.Read(p.data[:])
	}
}
