// Package testcard makes a smartcard out of software: a SoftHSM 2 token with an
// RSA key and a certificate for signing documents, by a test authority of its
// own. Neither is worth anything outside tests.
//
// SoftHSM learns where its tokens are from a file that the environment variable
// SOFTHSM2_CONF names, and reads it when a process initialises the module.
// [Make] sets the variable for itself. Every other process that is to see the
// card, such as the hub, is started with SOFTHSM2_CONF=[Card.Config].
//
// It needs cgo, like package pkcs11.
package testcard
