// Package cryptoki loads PKCS #11 modules (OASIS PKCS #11 2.40) and makes them
// safe to use from a server: each module is loaded and initialised once in a
// process, one caller at a time uses it, and a module that hangs takes nobody
// with it but the thread that it hangs in.
//
// Only binding_cgo.go needs cgo. Without cgo [Open] returns [ErrNoCgo].
package cryptoki
