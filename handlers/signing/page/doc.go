// Package page is the page on which a person signs: what the browser is sent to
// between the signature request and the callback.
//
// The page is one HTML document per request with a style sheet and a handful of
// JavaScript modules, all embedded: no inline script or style, nothing from
// elsewhere. Until the person asks to see the documents nothing happens but
// what the server rendered, so that a link scanner, a prefetch, a reload or the
// back button doesn't use up the single download. Then the page
//
//   - downloads the request (GET {base}/signaturerequest/{token}),
//   - shows each document as text, with its SHA-256,
//   - has it signed by a program on the person's own computer, the hub,
//   - uploads the signatures (POST {base}/signatureresponse/{token}) and
//   - goes to the address in the answer.
//
// The hub speaks hub/1 (JSON over loopback, see [HubOne]) or the protocol of
// NHS Credential Management (see [HubNHS]). With a mock, and only then, a
// signature marked as a fake can be had from POST {base}/mock/{token}, which
// answers as a hub/1 does.
//
// The page neither stores nor decides anything: the signing API does, and gives
// it a [View].
package page
