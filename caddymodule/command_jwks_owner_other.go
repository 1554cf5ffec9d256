//go:build !unix

package caddymodule

import "os"

// keepOwner does nothing where files inherit their rights from the folder.
func keepOwner(*os.File, os.FileInfo) error { return nil }
