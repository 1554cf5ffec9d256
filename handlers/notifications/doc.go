// Package notifications serves the notification API of GOV.UK Notify in two
// dialects, on one store, with one set of templates.
//
// The signed dialect is that of early 2016, whose requests are signed: POST
// /notifications/sms and /notifications/email, GET /notifications/{id} and
// /notifications. The v2 dialect is today's, which the public client libraries
// speak, below /v2; its description is served at /openapi.json. GET /_status
// tells load balancers that the server is up.
//
// [API.Handler] is the whole API over two [notifyauth.Verifier]; [API.Serve] is
// the part of the signed dialect behind authentication. A 201 means that the
// notification is durable in the [Store]; package delivery takes it from there.
// Only the recipients of package simulate, which are there to try the API with,
// are answered so and not stored in the v2 dialect.
//
// Answers are JSON. Besides 200 and 201 there are 400 (body, fields or query),
// 401 and 403 (the verifier's), 404 (route or object; another service's is as
// none), 405, 413, 429 (rate or daily limit) and 503 (storage, with
// Retry-After). The signed dialect says {"result":"error","message":…} with a
// text or lists of texts by field, and has Retry-After with 429 too. The v2
// dialect says {"status_code":…,"errors":[{"error":…,"message":…}]} with Notify's
// types and texts (section 2.2 of the wire reference).
//
// A POST that is sent again is answered with the first one's 201 and sends
// nothing again: in the signed dialect when the token is the same, in v2 when
// the header Idempotency-Key is (kept for 24 h, for each service and type of
// key). An IdempotencyKeyError says 400 for a key that is not 1 to 255 visible
// ASCII characters, 409 while the first request still runs, and 422 when the key
// was used with another request.
//
// The files without a dialect's name (compose.go, limits.go, once.go, store.go)
// hold what both dialects share; signed*.go and v2*.go hold what one of them has:
// its bodies, words and shapes.
package notifications
