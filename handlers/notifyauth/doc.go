// Package notifyauth mints, verifies and explains the bearer tokens of GOV.UK
// Notify, in both dialects, and puts them in front of any [net/http.Handler].
//
// A token is a JSON Web Token signed with HS256, whose key is the text of one
// of the service's secrets. In the [Signed] dialect of December 2015 to April
// 2016 its claims are iss (the service), iat (the time, in seconds), req and
// pay: the standard, padded base64 of HMAC-SHA256 over "METHOD path" and over
// the raw body, by the same secret. The [V2] dialect of today has iss and iat
// only, and ignores the others.
//
// Whatever a [Verifier] accepts, golang-jwt accepts under the same policy; the
// forms that it refuses beyond that are those of package jws.
package notifyauth
