// Package signing serves the signing API, the NHS Signing Service dialect: an
// application posts a signature request (a JWT signed with RS512), sends its
// user to the browser page, and collects the signatures when the browser has
// come back to its callback.
//
//	POST /signaturerequest[?state=]   the JWT; answers {token, redirectUri}
//	GET  /client?token=               the browser page
//	GET  /signaturerequest/{token}    the JWT, once, for the page
//	POST /signatureresponse/{token}   the signatures, from the page
//	GET  /signatureresponse/{token}   the signatures, for the application
//	GET  /_ping, /_status             for monitoring
//
// A request is requested, then downloaded, then signed; every move is a
// compare-and-set in the storage. What is wrong with a call is answered in the
// shape and with the texts of the real service, {"statusCode", "error",
// "message"}; only refused access tokens and rate limits are FHIR
// OperationOutcomes, as its gateway has them.
//
// The package knows nothing of any server around it: an [API] is an
// http.Handler.
package signing
