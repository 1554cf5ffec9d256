//go:build unix

package caddymodule

import (
	"os"
	"syscall"
)

// keepOwner gives a new file to the owner of the one that it is to replace.
// Without it, a file that root rotates could no longer be read by Caddy.
func keepOwner(f *os.File, old os.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	had, ok := old.Sys().(*syscall.Stat_t)
	if has, isStat := info.Sys().(*syscall.Stat_t); !ok || !isStat || has.Uid == had.Uid && has.Gid == had.Gid {
		return nil
	}
	return f.Chown(int(had.Uid), int(had.Gid))
}
