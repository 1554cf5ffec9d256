//go:build unix

package keyfile

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// hasModes tells that the mode of a file says who can read it.
const hasModes = true

// checkOwner refuses files of other users, who could put another key there.
func checkOwner(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if user := os.Geteuid(); int(stat.Uid) != user {
		return fmt.Errorf("keyfile: the private key %s belongs to the user with the number %d, not to the one who runs this program (%d): run chown %d on it",
			path, stat.Uid, user, user)
	}
	return nil
}
