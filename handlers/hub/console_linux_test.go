package hub

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pseudoTerminal returns both ends of a terminal: the user's and the program's.
func pseudoTerminal(t *testing.T) (user *os.File, tty *TTY) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	var number int
	conn, err := user.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, conn.Control(func(fd uintptr) {
		require.NoError(t, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	}))
	require.NoError(t, err)
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	tty, err = newTTY(program, program)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, tty.Close())
		require.NoError(t, user.Close())
	})
	return user, tty
}

func TestTTY(t *testing.T) {
	user, tty := pseudoTerminal(t)
	screen := bufio.NewReader(user)
	until := func(text string) string {
		require.NoError(t, user.SetReadDeadline(time.Now().Add(10*time.Second)))
		seen := ""
		for len(seen) < len(text) || seen[len(seen)-len(text):] != text {
			b, err := screen.ReadByte()
			require.NoError(t, err, seen)
			seen += string(b)
		}
		return seen
	}
	_, err := user.WriteString("y\n") // before anybody asked
	require.NoError(t, err)
	type line struct {
		text string
		err  error
	}
	read := func(ctx context.Context, prompt string, secret bool) chan line {
		got := make(chan line, 1)
		go func() {
			text, err := tty.ReadLine(ctx, prompt, secret)
			got <- line{text, err}
		}()
		return got
	}
	got := read(t.Context(), "Sign? ", false)
	until("Sign? ")
	_, err = user.WriteString("no\r")
	require.NoError(t, err)
	assert.Equal(t, line{"no", nil}, <-got)

	got = read(t.Context(), "PIN: ", true)
	until("PIN: ")
	_, err = user.WriteString(secretPIN + "\r")
	require.NoError(t, err)
	assert.Equal(t, line{secretPIN, nil}, <-got)

	// A question that is withdrawn leaves nothing behind that would take the
	// answer to the next.
	ctx, cancel := context.WithCancel(t.Context())
	got = read(ctx, "First? ", false)
	assert.NotContains(t, until("First? "), secretPIN)
	cancel()
	require.ErrorIs(t, (<-got).err, context.Canceled)
	got = read(t.Context(), "Second? ", false)
	until("Second? ")
	_, err = user.WriteString("yes\r")
	require.NoError(t, err)
	assert.Equal(t, line{"yes", nil}, <-got)

	got = read(t.Context(), "Third? ", false)
	until("Third? ")
	_, err = user.Write([]byte{4}) // the end of the input
	require.NoError(t, err)
	require.Error(t, (<-got).err)
}

func TestNoTTY(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	_, err = newTTY(file, file)
	require.ErrorContains(t, err, "is no terminal")
}
