package storage

import "time"

// SigningClient is a client of the signing API that is kept in storage: who
// signs its requests with one of these keys acts as it.
type SigningClient struct {
	ID   string // the iss claim
	Name string
	// Keys is a JSON Web Key Set (RFC 7517) of public keys. Back ends keep it
	// as it is and don't read it.
	Keys []byte
	// Callback is the absolute URL to which the browser returns.
	Callback  string
	CreatedAt time.Time
}

// SigningStatus is how far a signature request has come. It moves in one
// direction only, in the order of the constants.
type SigningStatus string

// The states of a signature request.
const (
	// SigningRequested: durable, nobody has downloaded it yet.
	SigningRequested SigningStatus = "requested"
	// SigningDownloaded: the browser page has it; its signature is awaited.
	SigningDownloaded SigningStatus = "downloaded"
	// SigningSigned: Response holds the result.
	SigningSigned SigningStatus = "signed"
	// SigningRetrieved is a signed request whose result was to be retrieved
	// once, and has been. Only the memory of its JWT is left. Final.
	SigningRetrieved SigningStatus = "retrieved"
)

// MaxSigningState is the size of the longest SigningRequest.State in bytes.
const MaxSigningState = 256

// Digest is the SHA-256 of something that only its holder should know. Back
// ends never see the token itself, so a copy of the storage opens nothing.
type Digest [32]byte

// SigningRequest is one signature request.
type SigningRequest struct {
	Token  Digest // unique
	Client string // the iss claim
	// Bearer is the client for which the access token was issued that came with
	// the request; empty when there was none.
	Bearer string
	// JWT is the request as received. It is removed when the request is signed.
	JWT []byte
	// Replay, unless nil, is the SHA-256 of the JWT: no second request with it
	// is stored as long as this one is, in whatever state.
	Replay *Digest
	// State is opaque, any bytes, at most MaxSigningState of them.
	State string
	// HasState tells that the client gave a state, which may be empty.
	HasState bool
	Status   SigningStatus
	// Binding, unless nil, is the SHA-256 of the browser cookie to which the
	// download bound the request.
	Binding *Digest
	// Response is the JSON of the signatures and the certificate while the
	// request is SigningSigned, otherwise nil.
	Response  []byte
	CreatedAt time.Time
	// Deadline is until when it can be signed. Back ends don't watch it.
	Deadline time.Time
	// ExpiresAt is until when the response can be read; before it is signed, no
	// earlier than Deadline. Back ends don't watch it, but a request is swept when
	// both ExpiresAt and Deadline have passed, so that Replay is remembered as long
	// as the JWT is valid.
	ExpiresAt time.Time
}
