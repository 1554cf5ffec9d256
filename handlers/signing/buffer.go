package signing

import "sync"

// leastPooled is the shortest length of usedBuffers, in bytes.
const leastPooled = 64 << 10

// usedBuffers are used again, so that a flood of long bodies doesn't leave the
// collector as much again. There is one pool for each length from leastPooled
// to 1 MiB, each twice the one before, for a buffer must not take much more than
// it is charged with. Shorter ones are left to the collector.
var usedBuffers [5]sync.Pool

// buffer is memory for a body or its decoded part.
type buffer struct {
	data   []byte
	pooled *[]byte // from usedBuffers
}

// classOf finds the pool for a size, and the length of what is in it.
func classOf(size int64) (class *sync.Pool, length int64) {
	n := 0
	for length = leastPooled; length < size; length *= 2 {
		n++
	}
	return &usedBuffers[n], length
}

// newBuffer has size bytes at least, and at most 1 MiB.
func newBuffer(size int64) buffer {
	if size <= leastPooled/2 {
		return buffer{data: make([]byte, size)}
	}
	class, length := classOf(size)
	pooled, ok := class.Get().(*[]byte)
	if !ok {
		fresh := make([]byte, length)
		pooled = &fresh
	}
	return buffer{data: *pooled, pooled: pooled}
}

// recycle ends the use of data.
func (b *buffer) recycle() {
	if b.pooled != nil {
		class, _ := classOf(int64(len(*b.pooled)))
		class.Put(b.pooled)
	}
	*b = buffer{}
}

// pieceLength makes a piece as long as what the allocator gives for it.
const pieceLength = 4<<10 - 16

// piece is memory for a part of a body that still arrives. All are of one
// length, so that what one body gives back fits any other.
type piece struct {
	next *piece
	used int
	data [pieceLength]byte
}

var usedPieces = sync.Pool{New: func() any { return new(piece) }}

func newPiece() *piece {
	p := usedPieces.Get().(*piece) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	p.next, p.used = nil, 0
	return p
}
