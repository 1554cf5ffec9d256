//go:build linux

package e2e

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notifyPackages is the folder into which the public clients are installed,
// once for all tests.
var notifyPackages = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(builds, "notify")
	if err := os.CopyFS(dir, os.DirFS("testdata/notify")); err != nil {
		return "", err
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	return dir, cmd.Run()
})

// nodeProcess is a Node.js process that calls notifications-node-client.
type nodeProcess struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// startNode starts one with more variables in its environment.
func startNode(t testing.TB, more ...string) *nodeProcess {
	t.Helper()
	dir, err := notifyPackages()
	require.NoError(t, err, "npm ci, which needs npm (apt-get install npm) and its registry")
	cmd := exec.Command("node", "driver.js")
	// Without the proxies that the environment may name.
	cmd.Dir, cmd.Env, cmd.Stderr = dir, environment(dir, more...), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		assert.NoError(t, cmd.Wait())
	})
	return &nodeProcess{in, bufio.NewReader(out)}
}

// called is what became of a call: the answer that the client has given or
// thrown, or a value that has nothing to do with HTTP.
type called struct {
	Client  int
	Methods []string
	API     struct{ URLBase, ServiceID, APIKeyID, ClientID, Secret string }
	Status  int
	Body    any
	Value   any
	Thrown  string
}

func (n *nodeProcess) ask(t testing.TB, request map[string]any) (c called) {
	t.Helper()
	_, err := n.in.Write(append(marshal(t, request), '\n'))
	require.NoError(t, err)
	line, err := n.out.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(line, &c), "%s", line)
	return c
}

// nodeClient is a NotifyClient of one of the versions.
type nodeClient struct {
	process *nodeProcess
	number  int
	methods map[string]bool // and whether they have been called
	// base, service and secret are what it has made of its arguments.
	base, service, secret string
}

// client makes a NotifyClient with the arguments of its constructor.
func (n *nodeProcess) client(t testing.TB, version string, args ...any) *nodeClient {
	t.Helper()
	made := n.ask(t, map[string]any{"version": version, "create": args})
	require.Empty(t, made.Thrown)
	c := &nodeClient{process: n, number: made.Client, methods: make(map[string]bool)}
	c.base, c.service, c.secret = made.API.URLBase, cmp.Or(made.API.ServiceID, made.API.ClientID), cmp.Or(made.API.APIKeyID, made.API.Secret)
	for _, name := range made.Methods {
		c.methods[name] = false
	}
	return c
}

// call calls a method, whatever comes of it.
func (c *nodeClient) call(t testing.TB, method string, args ...any) called {
	t.Helper()
	require.Contains(t, c.methods, method)
	c.methods[method] = true
	if args == nil {
		args = []any{}
	}
	return c.process.ask(t, map[string]any{"client": c.number, "method": method, "args": args})
}

// ok calls a method that must succeed and returns the JSON object of the answer.
func (c *nodeClient) ok(t testing.TB, status int, method string, args ...any) object {
	t.Helper()
	got := c.call(t, method, args...)
	require.Empty(t, got.Thrown, "%s: %v", method, got.Body)
	require.Equal(t, status, got.Status, "%s: %v", method, got.Body)
	body, ok := got.Body.(object)
	require.True(t, ok, "%s: %v", method, got.Body)
	return body
}

// refused calls a method that must fail with a body.
func (c *nodeClient) refused(t testing.TB, status int, body object, method string, args ...any) {
	t.Helper()
	got := c.call(t, method, args...)
	assert.NotEmpty(t, got.Thrown, method)
	assert.Equal(t, status, got.Status, method)
	assert.Equal(t, body, got.Body, method)
}

// requireComplete fails when the client has methods that were not called.
func (c *nodeClient) requireComplete(t testing.TB) {
	t.Helper()
	require.NotEmpty(t, c.methods)
	for _, name := range slices.Sorted(maps.Keys(c.methods)) {
		assert.True(t, c.methods[name], "%s was never called", name)
	}
}
