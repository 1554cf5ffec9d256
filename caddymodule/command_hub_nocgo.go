//go:build !cgo

package caddymodule

import "errors"

// needCards tells whether this binary can talk to cards.
func needCards() error { return errors.New("built without cgo: use ./xcaddy.sh hub") }
