package keyfile

import (
	"time"
)

// Config names the files.
type Config struct {
	// Key is the file with the private key, an RSA key of at least 2048 bits: in
	// PEM (PKCS #8 or PKCS #1, not encrypted) or PKCS #12 in DER. It must belong
	// to the user who runs the program, and nobody else may have any right to it
	// (mode 0600 or stricter). Windows has no such modes: there, nothing is
	// checked. Required.
	Key string
	// Certificate is a file with the certificate and, if wanted, those that
	// issued it, all in PEM and in any order. Default: they are in the file of the
	// key.
	Certificate string
	// Password opens a PKCS #12 file. It may be empty.
	Password string
	// Name stands for a card's label in the hub's own windows (default: the name
	// of the key's file).
	Name string
	// Now is the clock by which valid certificates come first (default:
	// [time.Now]).
	Now func() time.Time
}
