package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// params are the parameters of a statement in PostgreSQL's binary format, in one
// buffer. pgx would make an interface value of each element of an array, which for
// a batch of creations takes longer than the encoding.
type params struct {
	buf     []byte
	ends    []int // in buf; negative: NULL
	oids    []uint32
	formats []int16
}

// elem is a type, and that of its arrays.
type elem struct{ oid, array uint32 }

var (
	typeUUID  = elem{pgtype.UUIDOID, pgtype.UUIDArrayOID}
	typeInt2  = elem{pgtype.Int2OID, pgtype.Int2ArrayOID}
	typeInt4  = elem{pgtype.Int4OID, pgtype.Int4ArrayOID}
	typeInt8  = elem{pgtype.Int8OID, pgtype.Int8ArrayOID}
	typeText  = elem{pgtype.TextOID, pgtype.TextArrayOID}
	typeBytea = elem{pgtype.ByteaOID, pgtype.ByteaArrayOID}
)

// mostKept bounds the buffers that are kept for later use.
const mostKept = 1 << 20

var paramsPool = sync.Pool{New: func() any { return &params{buf: []byte{}} }} // not nil, of which an empty part would be NULL

func newParams() *params {
	p := paramsPool.Get().(*params) //nolint:errcheck // it holds nothing else
	p.buf, p.ends, p.oids, p.formats = p.buf[:0], p.ends[:0], p.oids[:0], p.formats[:0]
	return p
}

// free is called when nobody needs the parameters any more.
func (p *params) free() {
	if cap(p.buf) <= mostKept {
		paramsPool.Put(p)
	}
}

func (p *params) end(oid uint32, at int) {
	p.ends, p.oids, p.formats = append(p.ends, at), append(p.oids, oid), append(p.formats, pgtype.BinaryFormatCode)
}

func (p *params) null(t elem) { p.end(t.oid, -1) }

// value adds what add appends.
func (p *params) value(t elem, add func(b []byte) []byte) {
	p.buf = add(p.buf)
	p.end(t.oid, len(p.buf))
}

func (p *params) int2(v int16) { p.value(typeInt2, func(b []byte) []byte { return addInt2(b, v) }) }
func (p *params) int4(v int32) { p.value(typeInt4, func(b []byte) []byte { return addInt4(b, v) }) }
func (p *params) int8(v int64) { p.value(typeInt8, func(b []byte) []byte { return addInt8(b, v) }) }

func (p *params) text(v string) {
	p.value(typeText, func(b []byte) []byte { return append(b, v...) })
}

// bytea adds NULL for nil.
func (p *params) bytea(v []byte) {
	if v == nil {
		p.null(typeBytea)
		return
	}
	p.value(typeBytea, func(b []byte) []byte { return append(b, v...) })
}

// some adds array, or NULL for one in which all are NULL.
func (p *params) some(t elem, n int, add func(b []byte, i int) []byte) {
	start := len(p.buf)
	if p.array(t, n, add) == 0 {
		p.buf = p.buf[:start]
		p.ends[len(p.ends)-1] = -1
	}
}

// array adds an array of n elements, each of which add appends; nil is NULL. It
// returns how many are not.
func (p *params) array(t elem, n int, add func(b []byte, i int) []byte) (given int) {
	b := p.buf
	dimensions := uint32(1)
	if n == 0 {
		dimensions = 0
	}
	b = binary.BigEndian.AppendUint32(b, dimensions)
	hasNull := len(b)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, t.oid)
	if n > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(n)) //nolint:gosec // a batch
		b = binary.BigEndian.AppendUint32(b, 1)         // the number of the first
	}
	for i := range n {
		start := len(b)
		b = append(b, 0, 0, 0, 0)
		with := add(b, i)
		if with == nil {
			b[hasNull+3] = 1
			binary.BigEndian.PutUint32(b[start:], math.MaxUint32) // -1
			continue
		}
		b, given = with, given+1
		binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4)) //nolint:gosec // below 1 GiB, which the server refuses
	}
	p.buf = b
	p.end(t.array, len(b))
	return given
}

func addInt2(b []byte, v int16) []byte { return binary.BigEndian.AppendUint16(b, uint16(v)) } //nolint:gosec // its bits
func addInt4(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) } //nolint:gosec // its bits
func addInt8(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) } //nolint:gosec // its bits

// int8s, int2s, int4s and texts add arrays that are there already.
func (p *params) int8s(v []int64) {
	p.array(typeInt8, len(v), func(b []byte, i int) []byte { return addInt8(b, v[i]) })
}

func (p *params) int4s(v []int32) {
	p.array(typeInt4, len(v), func(b []byte, i int) []byte { return addInt4(b, v[i]) })
}

func (p *params) int2s(v []int16) {
	p.array(typeInt2, len(v), func(b []byte, i int) []byte { return addInt2(b, v[i]) })
}

func (p *params) texts(v []string) {
	p.array(typeText, len(v), func(b []byte, i int) []byte { return append(b, v[i]...) })
}

func (p *params) values() [][]byte {
	out := make([][]byte, len(p.ends))
	start := 0
	for i, end := range p.ends {
		if end >= 0 {
			out[i] = p.buf[start:end:end]
			start = end
		}
	}
	return out
}

// binaryResult asks for all columns in the binary format.
var binaryResult = []int16{pgtype.BinaryFormatCode}

// queryValue runs a statement that returns one value, into which it scans. The
// statement is prepared under a name unless the connection is a pooler's.
func (s *Store) queryValue(ctx context.Context, c *pgx.Conn, name, text string, p *params, into any) error {
	var r *pgconn.Result
	if s.unprepared {
		r = c.PgConn().ExecParams(ctx, text, p.values(), p.oids, p.formats, binaryResult).Read()
	} else {
		statement, err := c.Prepare(ctx, name, text)
		if err != nil {
			return err
		}
		r = c.PgConn().ExecStatement(ctx, statement, p.values(), p.formats, binaryResult).Read()
	}
	if r.Err != nil {
		return r.Err
	}
	if len(r.Rows) != 1 || len(r.Rows[0]) != 1 {
		return fmt.Errorf("the database has answered %s with %d rows instead of one value", name, len(r.Rows))
	}
	return c.TypeMap().Scan(r.FieldDescriptions[0].DataTypeOID, pgtype.BinaryFormatCode, r.Rows[0][0], into)
}
