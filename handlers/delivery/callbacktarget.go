package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signpost-gateway/signpost/handlers/outgoing"
)

// unknownPause is how long at least the stored targets are left alone after a
// look at them that a service without one has brought about.
const unknownPause = time.Second

// target is a CallbackTarget, ready to be called.
type target struct {
	config CallbackTarget
	url    string
	header http.Header
	client *http.Client
}

// targets are those of all services. They are replaced as a whole, so that asking
// for one takes neither a lock nor I/O.
type targets struct {
	configured map[string]*target
	all        atomic.Pointer[map[string]*target]
	// loaded says that the stored ones are known, or that there are none.
	loaded atomic.Bool
	// unknown says that a service without a target had something to be told.
	unknown atomic.Bool

	looked time.Time // belongs to Run

	loading sync.Mutex
	refused map[string]CallbackTarget // stored ones that can't be meant
}

func (s *targets) configure(cfg CallbacksConfig) error {
	s.configured = make(map[string]*target, len(cfg.Targets))
	for id, t := range cfg.Targets {
		ready, err := newTarget(t, cfg.Timeout)
		if err != nil {
			return fmt.Errorf("delivery: the callback of service %s: %w", id, err)
		}
		s.configured[id] = ready
	}
	s.all.Store(&s.configured)
	s.loaded.Store(cfg.Stored == nil)
	return nil
}

func (s *targets) of(serviceID string) *target { return (*s.all.Load())[serviceID] }

// take replaces the stored targets, one call at a time. Those that haven't changed keep their
// connections.
func (s *targets) take(stored map[string]CallbackTarget, timeout time.Duration, logger *slog.Logger) {
	before := *s.all.Load()
	after := maps.Clone(s.configured)
	refused := make(map[string]CallbackTarget)
	for id, t := range stored {
		if after[id] != nil {
			continue
		}
		if old := before[id]; old != nil && reflect.DeepEqual(old.config, t) {
			after[id] = old
			continue
		}
		ready, err := newTarget(t, timeout)
		if err != nil {
			if last, known := s.refused[id]; !known || !reflect.DeepEqual(last, t) {
				logger.Error("the stored callback of a service can't be used", slog.String("service", id), slog.Any("error", err))
			}
			refused[id] = t
			continue
		}
		after[id] = ready
	}
	s.refused = refused
	s.all.Store(&after)
	s.loaded.Store(true)
	for id, old := range before {
		if after[id] != old {
			old.client.CloseIdleConnections()
		}
	}
}

func (s *targets) close() {
	for _, t := range *s.all.Load() {
		t.client.CloseIdleConnections()
	}
}

// Load looks at the stored targets. Call it before the dispatcher runs: until it
// or Run has succeeded in that once, Wants is true of every service, so that no
// callback is lost.
func (c *Callbacks) Load(ctx context.Context) error {
	if c == nil || c.cfg.Stored == nil {
		return nil
	}
	c.targets.loading.Lock()
	defer c.targets.loading.Unlock()
	call, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	stored, err := c.cfg.Stored(call)
	if err != nil {
		return fmt.Errorf("delivery: the stored callbacks can't be read: %w", err)
	}
	c.targets.take(stored, c.cfg.Timeout, c.cfg.Logger)
	return nil
}

// refresh looks at the stored targets when that is due.
func (c *Callbacks) refresh(ctx context.Context, now time.Time, polled bool) {
	if c.cfg.Stored == nil {
		return
	}
	asked := c.targets.unknown.Load() && now.Sub(c.targets.looked) >= min(unknownPause, c.cfg.Poll)
	if !polled && !asked {
		return
	}
	c.targets.unknown.Store(false)
	c.targets.looked = now
	known := *c.targets.all.Load()
	if err := c.Load(ctx); err != nil {
		if ctx.Err() == nil {
			c.state.note(err)
		}
		return
	}
	c.state.note(nil)
	for id := range *c.targets.all.Load() {
		if known[id] == nil {
			c.mark(id)
		}
	}
}

// CheckCallback says what is wrong with a target, so that a configuration can
// be refused where it is written. The Bearer may be empty here.
func CheckCallback(t CallbackTarget) error {
	_, _, err := t.client(DefaultCallbackTimeout)
	return err
}

func newTarget(t CallbackTarget, timeout time.Duration) (*target, error) {
	u, client, err := t.client(timeout)
	if err != nil {
		return nil, err
	}
	if t.Bearer == "" {
		return nil, errors.New("it needs a bearer token, by which the service knows who calls")
	}
	if strings.ContainsFunc(t.Bearer, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("its bearer token holds a blank or a character that a header can't hold")
	}
	return &target{config: t, url: u.String(), client: client, header: http.Header{
		"Authorization": {"Bearer " + t.Bearer},
		"Content-Type":  {"application/json"},
		"User-Agent":    {"Signpost"},
	}}, nil
}

func (t CallbackTarget) client(timeout time.Duration) (*url.URL, *http.Client, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, nil, errors.New("the URL can't be parsed") // err quotes it, with any secret in it
	}
	if u.User != nil {
		return nil, nil, errors.New("the URL must not have a user or password: the bearer token says who calls")
	}
	addr, err := netip.ParseAddr(strings.Trim(u.Hostname(), "[]"))
	literal := err == nil
	addr = addr.Unmap()
	if u.Scheme == "http" && !strings.EqualFold(u.Hostname(), "localhost") && (!literal || !addr.IsLoopback()) {
		return nil, nil, errors.New("the URL must begin with https://; plain http is for localhost only, since the token and recipients would be readable")
	}
	if literal && (addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified()) {
		return nil, nil, fmt.Errorf("the address %s is not one of a service", addr)
	}
	t.Outgoing.AllowHTTP = false
	client, err := outgoing.NewClient(u, t.Outgoing, timeout)
	if err != nil {
		return nil, nil, err
	}
	return u, client, nil
}

// Wants reports whether a service is to get callbacks. It may be called on a
// nil receiver, and is what the storage's requests ask.
func (c *Callbacks) Wants(serviceID string) bool {
	return c != nil && (c.targets.of(serviceID) != nil || !c.targets.loaded.Load())
}

// Wake says that a callback of the service has become due. It may be called on
// a nil receiver.
func (c *Callbacks) Wake(serviceID string) {
	switch {
	case c == nil:
		return
	case c.targets.of(serviceID) != nil:
		c.mark(serviceID)
	case c.cfg.Stored == nil:
		return
	default:
		c.targets.unknown.Store(true)
	}
	signal(c.wake)
}

// WakeAll is Wake for every service.
func (c *Callbacks) WakeAll() {
	if c == nil || len(c.Services()) == 0 {
		return
	}
	c.markAll()
	signal(c.wake)
}

func (c *Callbacks) mark(serviceID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marked[serviceID] = true
}

func (c *Callbacks) markAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range *c.targets.all.Load() {
		c.marked[id] = true
	}
}

// Services returns the ids of the services that get callbacks, sorted.
func (c *Callbacks) Services() []string {
	if c == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(*c.targets.all.Load()))
}
