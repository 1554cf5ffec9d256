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

	"golang.org/x/sync/semaphore"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

const (
	// bodyFactor is how many times a body's length is charged: with it come its
	// decoded parts, and what the collector has not taken yet.
	bodyFactor = 4
	// smallBody is up to which length, in bytes, a body counts as small. A
	// request for a few dozen documents is.
	smallBody = 32 << 10
	// smallShare is the part of the memory that only small bodies get, so that
	// a flood of large ones doesn't keep them out.
	smallShare = 5
	// memoryWait is how long a request waits for memory.
	memoryWait = 3 * time.Second
	// bodyTimeout is how long a body may take to arrive. It holds its memory
	// all that time.
	bodyTimeout = 20 * time.Second
)

// bodies bounds the memory of bodies that are being read and checked.
type bodies struct {
	limit        int64 // of one body
	small, large *semaphore.Weighted
}

func newBodies(total, limit int64) (bodies, error) {
	small := total / smallShare
	if least := limit * bodyFactor; total-small < least || small < smallBody*bodyFactor {
		return bodies{}, fmt.Errorf("signing: MaxBuffered is %d bytes, too few for one body of %d: it must be %d at least",
			total, limit, max(least, smallBody*bodyFactor*(smallShare-1))*smallShare/(smallShare-1)+smallShare)
	}
	return bodies{limit: limit, small: semaphore.NewWeighted(small), large: semaphore.NewWeighted(total - small)}, nil
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

// read reads a body that check let pass. release, which is never nil, gives
// its memory back; the body must not be used after that.
func (b *bodies) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), ref *refusal) {
	if !notifyauth.AnnouncesBody(r) {
		return nil, func() {}, nil
	}
	size := r.ContentLength
	if size < 0 {
		size = b.limit
	}
	release, ref = b.reserve(r.Context(), size)
	if ref != nil {
		return nil, release, ref
	}
	buffer := newBuffer(size)
	free := release
	release = func() {
		buffer.recycle()
		free()
	}
	body, err := readWithin(w, r, buffer.data, size)
	switch {
	case err == nil:
		r.Body = http.NoBody // for AnnouncesBody: a refusal needn't end the connection
		return body, release, nil
	case errors.Is(err, errTooLarge):
		ref = b.tooLarge()
	default:
		ref = bodyFault(r, err)
	}
	release()
	return nil, func() {}, ref
}

// reserve waits for memory. Bodies are charged as announced, not as they
// arrive: else a flood of them would take all memory without one being whole.
func (b *bodies) reserve(ctx context.Context, size int64) (release func(), ref *refusal) {
	pool := b.large
	if size <= smallBody {
		pool = b.small
	}
	ctx, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	n := size * bodyFactor
	if err := pool.Acquire(ctx, n); err != nil {
		return func() {}, &refusal{
			status: http.StatusServiceUnavailable, code: codeBusy, text: textUnavailable, retryAfter: unavailableRetry,
			cause: errors.New("too many bodies at once"),
		}
	}
	return func() { pool.Release(n) }, nil
}

var errTooLarge = errors.New("the body is longer than the limit")

// readWithin reads a body of at most size bytes into a buffer of so many.
func readWithin(w http.ResponseWriter, r *http.Request, buffer []byte, size int64) ([]byte, error) {
	// A server may set a deadline of its own for each read, so both are needed.
	ctx, cancel := context.WithTimeout(r.Context(), bodyTimeout)
	defer cancel()
	c := http.NewResponseController(w)
	if c.SetReadDeadline(time.Now().Add(bodyTimeout)) == nil {
		defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	}
	src := &timedReader{ctx: ctx, src: r.Body}
	n, err := io.ReadFull(src, buffer[:size])
	switch {
	case err == nil && r.ContentLength >= 0:
		return buffer[:n], nil
	case err == nil:
		return buffer[:n], expectEnd(src)
	case r.ContentLength < 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return buffer[:n], nil
	}
	return nil, err
}

func expectEnd(src io.Reader) error {
	var probe [1]byte
	n, err := io.ReadFull(src, probe[:])
	switch {
	case n > 0:
		return errTooLarge
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// timedReader ends with its context, though not in the midst of a read.
type timedReader struct {
	ctx context.Context
	src io.Reader
}

func (t *timedReader) Read(p []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	return t.src.Read(p)
}

func bodyFault(r *http.Request, err error) *refusal {
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	ref := &refusal{status: http.StatusBadRequest, code: codeBodyRead, text: "Invalid request payload", cause: err}
	switch {
	case errors.As(err, &tooLarge):
		ref.status, ref.code = http.StatusRequestEntityTooLarge, codeTooLarge
		ref.text = fmt.Sprintf("Payload content length greater than maximum allowed: %d", tooLarge.Limit)
	case r.Context().Err() != nil:
		ref.status, ref.code = statusClientGone, codeClientGone
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		ref.status, ref.code, ref.text = http.StatusRequestTimeout, codeBodyTimeout, textTimeout
	}
	return ref
}
