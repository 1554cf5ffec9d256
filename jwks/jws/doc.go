// Package jws is the strict front of Signpost's token verifiers: it takes one
// compact JWS (RFC 7515, section 7.1) apart, decodes its parts and reads their
// JSON, and refuses everything that has two readings. It does no cryptography
// and decides nothing about keys, times or audiences.
//
// It is stricter than the RFCs ask of a verifier, and than general JWT
// libraries are: base64url must be canonical, objects must have no duplicate
// members nor members whose names differ in case only, text must be valid
// UTF-8. Tokens of well-behaved senders meet all of that; what doesn't is a
// second spelling of some other token.
//
// The functions work on the caller's bytes and don't allocate, except for rare
// forms: a JSON text with more than sixteen members, a header with unusual
// values. The JSON reader serves request bodies too.
package jws
