package hub

import (
	"context"
	"errors"
	"fmt"
	"html"
	"os"
	"path/filepath"
)

// doorwayPage leads a browser on without a script, and without telling where it
// came from.
const doorwayPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Signing hub</title>
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url=%[1]s">
</head>
<body><p><a href="%[1]s">Go on to the question of the signing hub</a></p></body>
</html>
`

// Doorway writes a file that leads the browser that opens it to an address, and
// returns its absolute path. Only this user can read it. It is removed when the
// context ends.
//
// Browsers are opened by a command whose arguments all users of the computer can
// read (/proc/PID/cmdline), and the address of a consent page is all that it
// takes to read the documents and to agree. An address that is good for one visit
// only, and bound to that browser by a cookie, is no way out: whoever watches the
// process list is faster than a browser starts, and gets the cookie; and cookies
// of 127.0.0.1 are sent to all of its ports, whoever has them. A file has an
// owner.
//
// The file is in a new folder below $XDG_RUNTIME_DIR, if that is this user's
// alone, as it should be (XDG Base Directory Specification, 0.8), or else below
// the folder for temporary files. What is left of it after a crash leads nowhere,
// because the address ends with the process.
func Doorway(ctx context.Context, address string) (path string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	folder, err := doorwayFolder(os.Getenv("XDG_RUNTIME_DIR"))
	if err != nil {
		return "", fmt.Errorf("hub: making a folder for the way to the consent page: %w", err)
	}
	remove := func() error { return os.RemoveAll(folder) } //nolint:gosec // it was made just now
	path = filepath.Join(folder, "question.html")
	text := fmt.Appendf(nil, doorwayPage, html.EscapeString(address))
	if err := os.WriteFile(path, text, 0o600); err != nil { //nolint:gosec // in the folder that was made just now
		return "", errors.Join(fmt.Errorf("hub: writing the way to the consent page: %w", err), remove())
	}
	context.AfterFunc(ctx, func() { _ = remove() })
	return path, nil
}

// doorwayFolder makes a folder that only this user can read and write, whatever
// the one is like in which it is made.
func doorwayFolder(runtimeDir string) (string, error) {
	const pattern = "signpost-hub-"
	info, err := os.Stat(runtimeDir) //nolint:gosec // it is looked at only, and what it says is the user's own affair
	if err == nil && filepath.IsAbs(runtimeDir) && info.IsDir() && info.Mode().Perm()&0o077 == 0 {
		if folder, err := os.MkdirTemp(runtimeDir, pattern); err == nil {
			return folder, nil
		}
	}
	folder, err := os.MkdirTemp("", pattern)
	if err != nil {
		return "", err
	}
	return filepath.Abs(folder)
}
