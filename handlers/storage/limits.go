package storage

import "time"

// Bucket is a token bucket: it holds at most Capacity tokens and regains
// PerSecond of them each second. A bucket that is not known yet is full.
type Bucket struct {
	Key       string
	Capacity  float64
	PerSecond float64
}

// ReplayKey marks a token as used.
type ReplayKey struct {
	ServiceID string
	Key       []byte // MAC of the token
	ExpiresAt time.Time
}
