// Package notifications serves the notification API of GOV.UK Notify, so far in
// its early-2016 dialect, whose requests are signed: POST /notifications/sms
// and /notifications/email, GET /notifications/{id} and /notifications, and
// GET /_status.
//
// [API.Handler] is the whole API over a [notifyauth.Verifier]; [API.Serve] is
// the part behind authentication. A 201 means that the notification is durable
// in the [Store]; package delivery takes it from there.
//
// Answers are JSON. Besides 200 and 201 there are, all but those of the
// verifier as {"result":"error","message":…} with a text or lists of texts by
// field: 400 (body, fields or query), 401 and 403 (the verifier's), 404 (route,
// template or notification; another service's is as none), 405, 429 (rate or
// daily limit) and 503 (storage), the last two with Retry-After.
//
// The files without a dialect's name (compose.go, limits.go, store.go) hold
// what every dialect shares; signed*.go hold what only the signed one has: its
// bodies, words and shapes.
package notifications
