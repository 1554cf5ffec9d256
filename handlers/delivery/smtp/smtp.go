package smtp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

// Provider hands emails to a mail server. It implements delivery.Provider.
type Provider struct {
	cfg Config
	tls *tls.Config

	mu      sync.Mutex
	idle    []*session
	closed  bool
	trouble string // what the operator has to mend, as logged last
}

var _ delivery.Provider = (*Provider)(nil)

// New checks the configuration. It calls nobody.
func New(cfg Config) (*Provider, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	config, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	return &Provider{cfg: cfg, tls: config}, nil
}

// Timeout returns the bound of a Send, which the dispatcher's lease must exceed.
func (p *Provider) Timeout() time.Duration { return p.cfg.Timeout }

// Close takes leave of the server. Call it when no Send runs.
func (p *Provider) Close() error {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	var quits sync.WaitGroup
	for _, s := range idle {
		s.expiry.Stop()
		quits.Go(s.quit)
	}
	quits.Wait()
	return nil
}

// Send hands the message over. Its errors are of type *delivery.SendError.
func (p *Provider) Send(ctx context.Context, m delivery.Message) (delivery.Sent, error) {
	e, failure := p.compose(m)
	if failure != nil {
		return delivery.Sent{}, failure
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	if s := p.take(); s != nil {
		failure, usable := p.deliver(ctx, s, e, true)
		if usable {
			return p.end(ctx, m, failure)
		}
		// The server has closed it meanwhile, before it knew of the message.
	}
	s, failure := p.connect(ctx)
	if failure == nil {
		failure, _ = p.deliver(ctx, s, e, false)
	}
	return p.end(ctx, m, failure)
}

// deliver sends a message by a connection, and keeps the connection for the next
// or closes it. usable is false when a kept one turned out to be closed.
func (p *Provider) deliver(ctx context.Context, s *session, e *envelope, kept bool) (failure *delivery.SendError, usable bool) {
	done := s.watch(ctx)
	at, err := s.send(e, kept)
	alive := done() && !broken(err)
	if alive {
		p.keep(s)
	} else {
		s.close()
	}
	if err == nil {
		return nil, true
	}
	if kept && !alive && at < text && ctx.Err() == nil {
		return nil, false
	}
	return p.failure(ctx, at, err), true
}

// end logs what the operator can mend, when it begins and when it is over.
func (p *Provider) end(ctx context.Context, m delivery.Message, failure *delivery.SendError) (delivery.Sent, error) {
	trouble := ""
	if failure != nil {
		mendable, ok := failure.Err.(*mendableError)
		if !ok {
			return delivery.Sent{}, failure
		}
		trouble = mendable.Error()
	}
	p.mu.Lock()
	before := p.trouble
	p.trouble = trouble
	p.mu.Unlock()
	server := []slog.Attr{slog.String("provider", m.Sender), slog.String("host", p.cfg.Host), slog.Int("port", p.cfg.Port)}
	switch {
	case trouble != "" && trouble != before:
		p.cfg.Logger.LogAttrs(ctx, slog.LevelError, "emails wait until the operator mends what the mail server refuses",
			append(server, slog.String("reason", trouble))...)
	case trouble == "" && before != "":
		p.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "the mail server takes emails again", server...)
	}
	if failure != nil {
		return delivery.Sent{}, failure
	}
	return delivery.Sent{Delivered: true}, nil
}

// take returns a connection that was kept, the one used last; nil when there is
// none.
func (p *Provider) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	last := len(p.idle) - 1
	s := p.idle[last]
	p.idle = p.idle[:last]
	s.expiry.Stop()
	return s
}

// keep keeps a connection for a while, unless there are enough.
func (p *Provider) keep(s *session) {
	p.mu.Lock()
	room := !p.closed && len(p.idle) < p.cfg.Keep
	if room {
		s.expiry = time.AfterFunc(p.cfg.Idle, func() { p.expire(s) })
		p.idle = append(p.idle, s)
	}
	p.mu.Unlock()
	if !room {
		s.quit()
	}
}

// expire ends a connection that nobody has used, unless somebody has just taken
// it.
func (p *Provider) expire(s *session) {
	p.mu.Lock()
	for i := range p.idle {
		if p.idle[i] == s {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			p.mu.Unlock()
			s.quit()
			return
		}
	}
	p.mu.Unlock()
}
