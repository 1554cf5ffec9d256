// Package keyfile signs with a private key in a file: in PEM or PKCS #12 (RFC
// 7292). It is for tests and for machines without smartcards. A key in a file is
// as safe as the file: whoever can read it can sign, and no PIN is asked.
package keyfile
