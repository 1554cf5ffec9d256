// Package evidence checks what a signer uploads to a signing service:
// RSASSA-PKCS1-v1_5 signatures (RFC 8017, section 8.2) over documents, and the
// X.509 certificate of the key that made them (RFC 5280).
//
// [CheckSignatures] does the arithmetic alone. A [Verifier] also decides
// whether to believe the certificate: who issued it, whether it is valid now,
// whether it is for signing documents, whether it belongs to the user that was
// asked, and, when configured, whether it has been revoked. Its refusals are
// [*Error]s with a code and a text for the client that says which check failed.
//
// Certificate revocation lists are fetched only from where a certificate points
// that is already known to come from a trusted authority, and never from an
// address inside the operator's own network unless that was allowed by name.
//
// A [Mock] is a signer for trying things out, whose certificates say that they
// are not real. Only a Verifier that is given that very Mock accepts them.
package evidence
