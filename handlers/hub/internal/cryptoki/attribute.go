package cryptoki

import (
	"encoding/binary"
	"math/bits"
	"runtime"
)

// Bool is an attribute of the type CK_BBOOL.
func Bool(attribute uint, value bool) Attribute {
	if value {
		return Attribute{attribute, []byte{1}}
	}
	return Attribute{attribute, []byte{0}}
}

// Number is an attribute of the type CK_ULONG, which has the size of a word on
// all systems but 64-bit Windows, where it has 32 bits.
func Number(attribute, value uint) Attribute {
	if bits.UintSize == 32 || runtime.GOOS == "windows" {
		return Attribute{attribute, binary.NativeEndian.AppendUint32(nil, uint32(value))} //nolint:gosec // such systems have no more
	}
	return Attribute{attribute, binary.NativeEndian.AppendUint64(nil, uint64(value))}
}

// Bytes is an attribute of bytes or text.
func Bytes[T ~string | ~[]byte](attribute uint, value T) Attribute {
	return Attribute{attribute, []byte(value)}
}

// IsTrue tells whether the value of an attribute of the type CK_BBOOL is true.
func IsTrue(value []byte) bool { return len(value) == 1 && value[0] != 0 }
