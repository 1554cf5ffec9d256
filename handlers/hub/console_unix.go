//go:build !windows

package hub

const (
	consoleIn  = "/dev/tty"
	consoleOut = consoleIn
)
