package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

const (
	// bodyFactor is how many times the length of a body that is whole is
	// charged: with it come its decoded parts, and what the collector has not
	// taken yet.
	bodyFactor = 4
	// smallBody is up to which length, in bytes, a body counts as small. A
	// request for a few dozen documents is.
	smallBody = 32 << 10
	// pieceFactor is that of what has come of a body that isn't whole. Large
	// ones fill all their memory with it, and the collector lets as much lie.
	// Small ones are charged less, so that many of them can be slow.
	pieceFactor      = bodyFactor
	smallPieceFactor = 2
	// beginning is up to where memory is taken as it is announced, once
	// a byte has come, in bytes. Then it is taken in pieces.
	beginning = 1 << 10
	// memoryWait is how long a request waits for memory in all.
	memoryWait = 3 * time.Second
)

// How the memory is divided: a sixth is for small bodies, a third for
// uploads, whose senders have shown a token, and the rest for large bodies that
// anybody may send. A flood of one kind doesn't keep out the others.
const (
	smallShare  = 6
	uploadShare = 3
	// poolFactor is how many times the longest body the memory of one kind must
	// be: it has room for one, and for pieces of others whose senders stall.
	poolFactor = bodyFactor + 1
)

// bodies bounds the memory of bodies that are being read and checked.
type bodies struct {
	limit                 int64 // of one body
	small, large, uploads *pool
	drains                chan struct{} // has one element for each body that is thrown away
}

func newBodies(total, limit int64) (bodies, error) {
	longest := limit * poolFactor
	small, uploads := total/smallShare, max(total/uploadShare, longest)
	if least := max(longest*2*smallShare/(smallShare-1), smallBody*poolFactor*smallShare); total < least {
		return bodies{}, fmt.Errorf("signing: MaxBuffered is %d bytes, too few for bodies of %d: it must be %d at least", total, limit, least)
	}
	return bodies{
		limit:   limit,
		small:   newPool(small, chargeOf(min(limit, smallBody), smallPieceFactor)),
		large:   newPool(total-small-uploads, chargeOf(limit, pieceFactor)),
		uploads: newPool(uploads, chargeOf(limit, pieceFactor)),
		drains:  make(chan struct{}, maxDrains),
	}, nil
}

// chargeOf is what a body of such a length is charged at most.
func chargeOf(length, pieceFactor int64) int64 {
	return max(length*bodyFactor, (length+pieceLength)*pieceFactor)
}

// check refuses a body by its headers alone, before anything is read.
func (b *bodies) check(r *http.Request, mediaType string) *refusal {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case (err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter)) || got != mediaType, notifyauth.Encoded(r.Header):
		return &refusal{status: http.StatusUnsupportedMediaType, code: codeMediaType, text: textMediaType}
	case r.ContentLength > b.limit:
		return b.tooLarge()
	}
	return nil
}

func (b *bodies) tooLarge() *refusal {
	return &refusal{
		status: http.StatusRequestEntityTooLarge, code: codeTooLarge,
		text: fmt.Sprintf("Payload content length greater than maximum allowed: %d", b.limit),
	}
}

// read reads a body that check let pass, of a caller who has shown a token.
// release, which is never nil, gives its memory back; the body must not be used
// after that.
func (b *bodies) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), ref *refusal) {
	return b.readFrom(b.uploads, pieceFactor, w, r)
}

// readAnonymous is read for callers who may be anybody.
func (b *bodies) readAnonymous(w http.ResponseWriter, r *http.Request) (body []byte, release func(), ref *refusal) {
	if size := r.ContentLength; b.limit <= smallBody || size >= 0 && size <= smallBody {
		return b.readFrom(b.small, smallPieceFactor, w, r)
	}
	return b.readFrom(b.large, pieceFactor, w, r)
}

func (b *bodies) readFrom(p *pool, factor int64, w http.ResponseWriter, r *http.Request) (body []byte, release func(), ref *refusal) {
	if !notifyauth.AnnouncesBody(r) {
		return nil, func() {}, nil
	}
	a := arrival{share: share{pool: p}, factor: factor, src: newPacer(w, r, bodyPace), patience: memoryWait}
	err := a.read(r.Context(), r.ContentLength, b.limit)
	a.src.end()
	if err == nil {
		r.Body = http.NoBody // for AnnouncesBody: a refusal needn't end the connection
		body, err = a.whole(r.Context())
	}
	switch {
	case err == nil:
		return body, a.release, nil
	case errors.Is(err, errTooLarge):
		ref = b.tooLarge()
	default:
		ref = bodyFault(r, err)
	}
	a.release()
	return nil, func() {}, ref
}

var (
	errTooLarge = errors.New("the body is longer than the limit")
	errBusy     = errors.New("too many bodies at once")
)

// arrival is a body that is being read.
type arrival struct {
	share       share
	factor      int64 // of what is charged while it arrives
	src         *pacer
	start       []byte // what has come up to beginning
	first, last *piece // and what followed
	body        buffer // it all, in one piece
	length      int64  // of what has come
	patience    time.Duration
	probe       [1]byte
}

func (a *arrival) release() {
	a.start = nil
	a.freePieces()
	a.body.recycle()
	a.share.close()
}

func (a *arrival) freePieces() {
	for p := a.first; p != nil; {
		next := p.next
		usedPieces.Put(p)
		p = next
	}
	a.first, a.last = nil, nil
}

// read reads a body of as many bytes as announced or, when that is negative, of
// limit bytes at most. Memory is taken when the first byte for it has come.
func (a *arrival) read(ctx context.Context, announced, limit int64) error {
	end := announced
	if end < 0 {
		end = limit
	}
	for a.length < end {
		if _, err := readFull(a.src, a.probe[:]); err != nil {
			return ended(err, announced)
		}
		part, err := a.extend(ctx, end-a.length)
		if err != nil {
			return err
		}
		part[0] = a.probe[0]
		n, err := readFull(a.src, part[1:])
		a.took(1 + n)
		if err != nil {
			return ended(err, announced)
		}
	}
	if announced >= 0 {
		return nil
	}
	n, err := readFull(a.src, a.probe[:])
	if n > 0 {
		return errTooLarge
	}
	return ended(err, announced)
}

// extend takes memory for what comes next, of which there are left bytes at
// most.
func (a *arrival) extend(ctx context.Context, left int64) (part []byte, err error) {
	if a.length == 0 {
		left = min(left, beginning)
		if err := a.reserve(ctx, left*a.factor); err != nil {
			return nil, err
		}
		a.start = make([]byte, left)
		return a.start, nil
	}
	left = min(left, pieceLength)
	if err := a.reserve(ctx, pieceLength*a.factor); err != nil {
		return nil, err
	}
	p := newPiece()
	if a.last == nil {
		a.first = p
	} else {
		a.last.next = p
	}
	a.last = p
	return p.data[:left], nil
}

// took says how much of the memory that extend gave last is used.
func (a *arrival) took(n int) {
	a.length += int64(n)
	if a.last == nil {
		a.start = a.start[:n]
	} else {
		a.last.used = n
	}
}

// whole returns the body in one piece.
func (a *arrival) whole(ctx context.Context) ([]byte, error) {
	if more := a.length*bodyFactor - a.share.held; more > 0 {
		if err := a.reserve(ctx, more); err != nil {
			return nil, err
		}
	}
	a.share.settle()
	if a.first == nil {
		return a.start, nil
	}
	a.body = newBuffer(a.length)
	at := copy(a.body.data, a.start)
	for p := a.first; p != nil; p = p.next {
		at += copy(a.body.data[at:], p.data[:p.used])
	}
	a.freePieces()
	return a.body.data[:at], nil
}

func (a *arrival) reserve(ctx context.Context, n int64) error {
	if a.share.tryGrow(n) {
		return nil
	}
	began := time.Now()
	err := a.src.pause(func() error { return a.share.grow(ctx, n, a.patience) })
	a.patience -= time.Since(began)
	return err
}

// readFull is io.ReadFull, but for the errors, which it leaves as they are.
func readFull(src io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = src.Read(p[n:])
		n += more
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// ended tells the end of a body from its breaking off.
func ended(err error, announced int64) error {
	switch {
	case !errors.Is(err, io.EOF):
		return err
	case announced < 0:
		return nil
	}
	return io.ErrUnexpectedEOF
}

func bodyFault(r *http.Request, err error) *refusal {
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	ref := &refusal{status: http.StatusBadRequest, code: codeBodyRead, text: "Invalid request payload", cause: err}
	switch {
	case errors.As(err, &tooLarge):
		ref.status, ref.code = http.StatusRequestEntityTooLarge, codeTooLarge
		ref.text = fmt.Sprintf("Payload content length greater than maximum allowed: %d", tooLarge.Limit)
	// net/http takes every fault of a connection for its end, this one too.
	case errors.As(err, &timeout) && timeout.Timeout():
		ref.status, ref.code, ref.text = http.StatusRequestTimeout, codeBodyTimeout, textTimeout
	case r.Context().Err() != nil:
		ref.status, ref.code = statusClientGone, codeClientGone
	case errors.Is(err, errBusy):
		ref.status, ref.code, ref.text = http.StatusServiceUnavailable, codeBusy, textUnavailable
		ref.retryAfter = unavailableRetry
	}
	return ref
}
