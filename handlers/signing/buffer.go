package signing

import (
	"sync"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// bigBuffers are used again, so that a flood of long bodies doesn't leave the
// collector as much again. Short ones are left to it.
var bigBuffers = sync.Pool{New: func() any { return new([jws.MaxDocument]byte) }}

// buffer is memory for a body or its decoded part.
type buffer struct {
	data []byte
	big  *[jws.MaxDocument]byte
}

// newBuffer has size bytes at least, and at most 1 MiB.
func newBuffer(size int64) buffer {
	if size <= smallBody {
		return buffer{data: make([]byte, size)}
	}
	big := bigBuffers.Get().(*[jws.MaxDocument]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	return buffer{data: big[:], big: big}
}

// recycle ends the use of data.
func (b *buffer) recycle() {
	if b.big != nil {
		bigBuffers.Put(b.big)
	}
	*b = buffer{}
}
