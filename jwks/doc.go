// Package jwks verifies JSON Web Tokens against JSON Web Key Sets (RFC 7515,
// RFC 7517, RFC 7519), RS512 by default.
//
// [Parse] reads keys, one by one: what can't be used is skipped and reported,
// and never takes the rest with it. A [Set] is a named union of sources
// (inline, file, URL) of one issuer, kept fresh in the background. A
// [Verifier] takes a token apart with the strict front of package jws, finds
// its key by issuer and kid, verifies the signature, and applies a [Policy]
// to the claims. Its refusals are [*Error]s with a code.
//
// No library's default policy is trusted: jwx parses key members, golang-jwt
// and the standard library do the mathematics, and everything in between is
// decided here. Nothing is ever fetched or taken from where a token points.
package jwks
