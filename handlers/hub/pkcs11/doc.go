// Package pkcs11 signs with the keys of smartcards and other tokens through
// their PKCS #11 module (OASIS PKCS #11 2.40), a C library that comes with the
// card's software.
//
// A [Signer] opens a session for each operation and leaves nothing behind: a
// card may be taken out and put in again at any time. A PIN is used for one
// batch, after which the token is logged out of. A PIN from configuration that
// the token refused is not tried again in this process.
//
// Programs without cgo can use the package; [New] then says how to get one that
// has it.
package pkcs11
