package notifyauth

import (
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

const (
	// bigChunk is the unit in which long bodies are kept, so that memory
	// follows the bytes that arrived and not those that were announced, and
	// nothing is copied when a body grows.
	bigChunk = 64 << 10
	// firstStep is the first chunk of a body of unknown length.
	firstStep = 4 << 10
)

var bigChunks = sync.Pool{New: func() any { return new([bigChunk]byte) }}

// chunk is a piece of a body. Its memory goes back to the pool when it is a
// big one.
type chunk struct {
	data []byte
	big  *[bigChunk]byte
}

func newChunk(size int64) chunk {
	if size < bigChunk {
		return chunk{data: make([]byte, 0, size)}
	}
	big := bigChunks.Get().(*[bigChunk]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	return chunk{data: big[:0], big: big}
}

func (c *chunk) recycle() {
	if c.big != nil {
		bigChunks.Put(c.big)
	}
	*c = chunk{}
}

// bufferedBody is a body that has been read and verified, to be read again. It
// may be read until it is released, and not after: a proxy's transport may
// still hold it then.
type bufferedBody struct {
	mu       sync.Mutex
	chunks   []chunk
	first    [1]chunk // what chunks is made of for short bodies
	length   int64
	budget   *Budget
	factor   int64 // of what is charged to budget
	reserved int64
	released bool
	probe    [1]byte
}

// Read implements io.Reader.
func (b *bufferedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.released {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(p) == 0 {
		return 0, nil
	}
	for len(b.chunks) > 0 {
		c := &b.chunks[0]
		if n := copy(p, c.data); n > 0 {
			c.data = c.data[n:]
			return n, nil
		}
		c.recycle()
		b.chunks = b.chunks[1:]
	}
	return 0, io.EOF
}

// Close does nothing: a proxy that tries another upstream closes the body in
// between.
func (*bufferedBody) Close() error { return nil }

func (b *bufferedBody) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.released {
		return
	}
	b.released = true
	for i := range b.chunks {
		b.chunks[i].recycle()
	}
	b.chunks = nil
	b.budget.free(b.reserved)
}

// AnnouncesBody reports whether a request has a body, or may have one because
// its length is unknown.
func AnnouncesBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// verifyBody reads the body and compares it with pay. What the headers tell is
// checked before anything is read. read reports whether the body was read to
// its end.
func (v *Verifier) verifyBody(r *http.Request, h *head) (body *bufferedBody, read bool, fault *Error) {
	pay := h.claims.payState
	if !AnnouncesBody(r) {
		if pay != absent {
			return nil, true, v.refuse(CodePayUnexpected, h)
		}
		return nil, true, nil
	}
	switch {
	case Encoded(r.Header):
		return nil, false, v.refuse(CodeContentEncoding, h)
	case r.ContentLength > v.maxBody:
		return nil, false, v.refuse(CodeTooLarge, h)
	case r.ContentLength > 0 && pay != present:
		return nil, false, v.refuse(payFault(pay), h)
	}
	body = v.newBody()
	mac := h.key.begin()
	err := body.fill(r.Body, r.ContentLength, v.maxBody, mac)
	var sum [macSize]byte
	h.key.end(mac, &sum)
	switch {
	case err != nil:
		fault = v.refuseFor(readFault(err), h, err)
	case body.length == 0 && pay == absent:
		body.release()
		return nil, true, nil
	case body.length == 0:
		fault = v.refuse(CodePayUnexpected, h)
	case pay != present:
		fault = v.refuse(payFault(pay), h)
	case subtle.ConstantTimeCompare(sum[:], h.claims.pay[:]) != 1:
		fault = v.refuse(CodePay, h)
	case body.isTokenBody():
		fault = v.refuse(CodeTokenBody, h)
	}
	if fault != nil {
		body.release()
		return nil, err == nil, fault
	}
	return body, true, nil
}

// takeBody reads a body that nothing was signed of.
func (v *Verifier) takeBody(r *http.Request, h *head) (body *bufferedBody, read bool, fault *Error) {
	switch {
	case !AnnouncesBody(r):
		return nil, true, nil
	case Encoded(r.Header):
		return nil, false, v.refuse(CodeContentEncoding, h)
	case r.ContentLength > v.maxBody:
		return nil, false, v.refuse(CodeTooLarge, h)
	}
	body = v.newBody()
	err := body.fill(r.Body, r.ContentLength, v.maxBody, nil)
	if err == nil && body.length > 0 {
		return body, true, nil
	}
	body.release()
	switch {
	case err == nil:
		return nil, true, nil
	case errors.Is(err, errLonger):
		return nil, false, v.refuseFor(CodeBodyRead, h, err)
	}
	return nil, false, v.refuseFor(readFault(err), h, err)
}

func (v *Verifier) newBody() *bufferedBody {
	b := &bufferedBody{budget: v.budget, factor: v.factor}
	b.chunks = b.first[:0]
	return b
}

func payFault(pay claimState) Code {
	if pay == absent {
		return CodePayMissing
	}
	return CodePay
}

// Encoded reports a Content-Encoding other than identity. The MAC covers the
// bytes of the wire, while whoever reads the body next might take the decoded
// ones for what was signed.
func Encoded(header http.Header) bool {
	for _, line := range header["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}

var (
	errTooLarge = errors.New("the body is longer than the limit")
	errBusy     = errors.New("the budget of buffered bodies is used up")
	errLonger   = errors.New("the body is longer than its Content-Length")
)

func readFault(err error) Code {
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.Is(err, errTooLarge), errors.As(err, &tooLarge):
		return CodeTooLarge
	case errors.Is(err, errBusy):
		return CodeBusy
	case errors.Is(err, errLonger):
		return CodePay
	case errors.As(err, &timeout) && timeout.Timeout():
		return CodeBodyTimeout
	}
	return CodeBodyRead
}

// fill reads all of src: exactly length bytes, or what there is up to limit
// when length is negative. The budget is charged with what is announced, before
// it is read; without an announcement, chunk by chunk. mac may be nil.
func (b *bufferedBody) fill(src io.Reader, length, limit int64, mac *macState) error {
	end := limit
	if length >= 0 {
		end = length
		if !b.reserve(length) {
			return errBusy
		}
	}
	for b.length < end {
		size := min(end-b.length, bigChunk)
		if length < 0 {
			if len(b.chunks) == 0 {
				size = min(size, firstStep)
			}
			if !b.reserve(size) {
				return errBusy
			}
		}
		c := newChunk(size)
		n, err := io.ReadFull(src, c.data[:size])
		c.data = c.data[:n]
		b.chunks = append(b.chunks, c)
		b.length += int64(n)
		if mac != nil {
			mac.write(c.data)
		}
		switch {
		case err == nil:
		case length < 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
	return b.expectEnd(src, length)
}

func (b *bufferedBody) reserve(n int64) bool {
	n *= b.factor
	if !b.budget.reserve(n) {
		return false
	}
	b.reserved += n
	return true
}

// expectEnd reads on to see that nothing follows; net/http wants its body read
// to the end as well.
func (b *bufferedBody) expectEnd(src io.Reader, length int64) error {
	n, err := io.ReadFull(src, b.probe[:])
	switch {
	case n > 0 && length < 0:
		return errTooLarge
	case n > 0:
		return errLonger
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

func (b *bufferedBody) isTokenBody() bool {
	if len(b.chunks) == 1 {
		return isTokenBody(b.chunks[0].data)
	}
	pieces := make([][]byte, len(b.chunks))
	for i := range b.chunks {
		pieces[i] = b.chunks[i].data
	}
	return isTokenBody(pieces...)
}
