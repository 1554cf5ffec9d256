// Package jwksauth puts the bearer tokens (RFC 6750) that package jwks verifies
// in front of any [net/http.Handler].
//
// An [Authenticator] finds the one token of a request, in a header, a cookie or
// the query, and has it verified. The next handler gets the request without the
// token, with chosen claims as headers, and with the [jwks.Token] in its
// context. What a client sends under the names of those headers, in any
// spelling, never gets there. The body is not read.
package jwksauth
