//go:build cgo

package caddymodule

// needCards tells whether this binary can talk to cards.
func needCards() error { return nil }
