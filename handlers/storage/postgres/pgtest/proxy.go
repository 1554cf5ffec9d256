//go:build unix

package pgtest

import (
	"net"
	"sync"
)

// Proxy stands between a client and a server, and can let packets vanish: what
// is sent neither arrives nor fails, as behind a firewall that drops.
type Proxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu     sync.Mutex
	hole   bool
	closed bool
	conns  map[net.Conn]struct{}
}

// NewProxy listens on a free port of loopback and passes on to target.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, conns: map[net.Conn]struct{}{}}
	p.tasks.Go(p.accept)
	return p, nil
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Swallow says whether packets vanish. What has vanished is lost with its
// connection, which never recovers; connections that are made later work.
func (p *Proxy) Swallow(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hole = on
}

// Close ends all connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close() //nolint:errcheck // of no more use
	}
	p.mu.Unlock()
	p.tasks.Wait()
	return err
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close() //nolint:errcheck // of no more use
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close() //nolint:errcheck // of no more use
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) swallowing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hole
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.keep(c) {
			p.tasks.Go(func() { p.serve(c) })
		}
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	if p.swallowing() {
		p.lose(client)
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	if !p.keep(server) {
		return
	}
	defer p.drop(server)
	var back sync.WaitGroup
	back.Go(func() {
		p.pass(client, server)
		_ = client.Close() //nolint:errcheck // ends the other direction
	})
	p.pass(server, client)
	_ = server.Close() //nolint:errcheck // ends the other direction
	back.Wait()
}

// pass copies until either side ends, or until a packet vanishes; after that it
// only reads.
func (p *Proxy) pass(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.swallowing() {
			p.lose(from)
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// lose reads what comes, for nobody.
func (p *Proxy) lose(c net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		if _, err := c.Read(buffer); err != nil {
			return
		}
	}
}
