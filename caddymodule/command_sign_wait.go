package caddymodule

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/signing/client"
)

// state is what the callback must bring back beside the token.
func (r *signRun) state() string {
	if *r.flags.state == "" && *r.flags.listen != "" {
		return rand.Text()
	}
	return *r.flags.state
}

// callbackServer waits for the browser. It does nothing without a listener.
type callbackServer struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

const (
	callbackTimeout  = 5 * time.Second
	callbackShutdown = 2 * time.Second // browsers open connections in advance
)

// listen takes the address of --listen.
func (r *signRun) listen() (*callbackServer, error) {
	address := *r.flags.listen
	if address == "" {
		return &callbackServer{}, nil
	}
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	if err != nil || !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("--listen %q: it must be a loopback address and a port, such as 127.0.0.1:8085", address)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return &callbackServer{listener: l}, nil
}

// serve answers the browser; nil without a listener. What came before waits in
// the listener's queue.
func (s *callbackServer) serve(p *client.Pending) *client.Callback {
	if s.listener == nil {
		return nil
	}
	back := client.NewCallback(p)
	s.server = &http.Server{Handler: back, ReadHeaderTimeout: callbackTimeout, ReadTimeout: callbackTimeout, MaxHeaderBytes: 64 << 10}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		_ = s.server.Serve(s.listener)
	}()
	return back
}

// close lets the browser have its page first.
func (s *callbackServer) close() {
	switch {
	case s.server != nil:
		ctx, cancel := context.WithTimeout(context.Background(), callbackShutdown)
		defer cancel()
		if s.server.Shutdown(ctx) != nil {
			_ = s.server.Close()
		}
		<-s.done
	case s.listener != nil:
		_ = s.listener.Close()
	}
}

// openBrowser opens a URL, which must have been checked to be http or https, or
// the path of a file of ours, in the browser of this machine's user.
var openBrowser = func(url string) error {
	name, args := browserCommand(runtime.GOOS)
	cmd := exec.Command(name, append(args, url)...) //nolint:gosec // the program is one of three, and outlives this one
	// A browser hands its environment on to whatever it starts.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, cardPINEnv+"=") || strings.HasPrefix(v, keyfilePasswordEnv+"=")
	})
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		if err := cmd.Wait(); err != nil { // without the URL, which may be a secret
			caddy.Log().Named("signpost").Error("the browser could not be opened", zap.String("program", name), zap.Error(err))
		}
	}()
	return nil
}

func browserCommand(system string) (name string, args []string) {
	switch system {
	case "windows":
		return "rundll32", []string{"url.dll,FileProtocolHandler"}
	case "darwin":
		return "open", nil
	}
	return "xdg-open", nil
}
