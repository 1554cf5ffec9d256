// Package hub is the program between a browser and a smartcard: it runs on the
// user's own computer, takes signature requests from the web sites that it was
// told to trust, shows the user what is to be signed, asks for consent and the
// PIN, and has a [Signer] sign.
//
// It speaks two protocols. The first is hub/1 (the wire reference, section 2.4),
// JSON over HTTP:
//
//	GET  /hub/v1/info
//	POST /hub/v1/certificates
//	POST /hub/v1/sign
//
// The second is the one that NHS England publishes a client for (section 2.3):
// the port service, GET /PRS/GetPortNumber, and classic SignalR 2 with long
// polling under /signalr, hub signingHub, method requestToSign.
//
// Any web page can reach a port of the computer on which it is shown, so nothing
// is answered but what comes over a loopback connection, under a loopback name
// (against DNS rebinding) and with an Origin from the list. hub/1 takes JSON
// only, which browsers send to another origin after a preflight at the earliest.
// What is signed is not what a page says, but what a client of the signing
// service has signed with its own key: the hub verifies the JWT by itself. A JWT
// is for the site of its aud, and signed once. Personal data, the certificate
// included, leaves after the user agreed, and the PIN never does.
package hub
