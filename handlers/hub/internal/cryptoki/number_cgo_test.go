//go:build cgo

package cryptoki

import "github.com/miekg/pkcs11"

// pkcs11Number is a CK_ULONG as the C compiler has it.
func pkcs11Number(value uint) []byte { return pkcs11.NewAttribute(0, value).Value }
