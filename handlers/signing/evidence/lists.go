package evidence

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/signpost-gateway/signpost/handlers/outgoing"
)

const (
	// fetchTimeout bounds one fetch, from the look-up of the name to the last
	// byte.
	fetchTimeout = 5 * time.Second
	maxListBytes = 10 << 20
	maxRedirects = 3
	// maxFetches is how many lists are fetched at once.
	maxFetches = 4
	// maxListAge is how long a list is used without asking for a newer one.
	maxListAge = time.Hour
	// retryAfter is how long a failure is remembered.
	retryAfter = time.Minute

	maxLists      = 64
	maxCacheBytes = 32 << 20 // of DER
)

// lists fetches revocation lists and keeps those in force.
type lists struct {
	client  *http.Client
	now     func() time.Time
	timeout time.Duration
	slots   chan struct{} // of fetches
	parsing sync.Mutex    // one at a time: it takes several times the list's size
	flights singleflight.Group

	mu    sync.Mutex
	known map[listKey]outcome
}

// listKey is the address of a list, and the authority whose it must be.
type listKey struct {
	issuer  [sha256.Size]byte
	address string
}

// outcome is what became of the last fetch.
type outcome struct {
	list  *list
	err   error // when list is nil
	until time.Time
}

func (k *outcome) size() int {
	if k.list == nil {
		return 0
	}
	return k.list.size
}

func newLists(transport http.RoundTripper, allowPrivate []string, now func() time.Time) (*lists, error) {
	l := &lists{
		now: now, timeout: fetchTimeout, slots: make(chan struct{}, maxFetches), known: make(map[listKey]outcome),
		client: &http.Client{Transport: transport},
	}
	switch {
	case transport == nil:
		var err error
		if l.client, err = outgoing.NewOpenClient(outgoing.Policy{AllowPrivate: allowPrivate}, 0); err != nil {
			return nil, fmt.Errorf("AllowPrivate: %w", err)
		}
	case len(allowPrivate) > 0:
		return nil, errors.New("AllowPrivate has no effect with a Transport: leave one of them out")
	}
	l.client.CheckRedirect = checkRedirect
	return l, nil
}

func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if err := checkAddress(r.URL); err != nil {
		return fmt.Errorf("a redirect can't be followed: %w", err)
	}
	r.Header.Del("Referer")
	return nil
}

// get returns the list of the issuer at an address: one in force.
func (l *lists) get(ctx context.Context, address string, issuer *x509.Certificate) (*list, error) {
	key := listKey{sha256.Sum256(issuer.Raw), address}
	if k, ok := l.recall(key); ok {
		return k.list, k.err
	}
	// Those who wait share one fetch, which goes on without them.
	flight := l.flights.DoChan(string(key.issuer[:])+address, func() (any, error) {
		if k, ok := l.recall(key); ok {
			return k.list, k.err
		}
		fetched, err := l.fetch(context.WithoutCancel(ctx), address, issuer)
		return l.remember(key, fetched, err)
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-flight:
		got, _ := r.Val.(*list)
		return got, r.Err
	}
}

func (l *lists) recall(key listKey) (outcome, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k, ok := l.known[key]
	return k, ok && l.now().Before(k.until)
}

// remember keeps what a fetch gave. A list in force outlives a failure to fetch
// its successor, and an older one that somebody puts in its place.
func (l *lists) remember(key listKey, fetched *list, err error) (*list, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if err == nil {
		err = fetched.inForce(now)
	}
	k := outcome{fetched, err, now.Add(maxListAge)}
	if old := l.known[key].list; old != nil && old.inForce(now) == nil && (err != nil || fetched.thisUpdate.Before(old.thisUpdate)) {
		k = outcome{old, nil, now.Add(retryAfter)}
	}
	if k.err != nil {
		k = outcome{nil, k.err, now.Add(retryAfter)}
	} else if k.list.nextUpdate.Before(k.until) {
		k.until = k.list.nextUpdate
	}
	l.known[key] = k
	l.evict(key)
	return k.list, k.err
}

// evict forgets what runs out first until the rest fits.
func (l *lists) evict(keep listKey) {
	size := 0
	for _, k := range l.known {
		size += k.size()
	}
	for len(l.known) > maxLists || size > maxCacheBytes {
		var oldest listKey
		var until time.Time
		for key, k := range l.known {
			if key != keep && (until.IsZero() || k.until.Before(until)) {
				oldest, until = key, k.until
			}
		}
		gone := l.known[oldest]
		size -= gone.size()
		delete(l.known, oldest)
	}
}

func (l *lists) fetch(ctx context.Context, address string, issuer *x509.Certificate) (*list, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.timeout, fmt.Errorf("it wasn't there after %s", l.timeout))
	defer cancel()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	der, err := l.download(ctx, address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	l.parsing.Lock()
	defer l.parsing.Unlock()
	return parseList(der, issuer)
}

func (l *lists) download(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/pkix-crl")
	req.Header.Set("User-Agent", "signpost")
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	tooLong := fmt.Errorf("it is longer than %d MiB", maxListBytes>>20)
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("found status %d, expected 200", resp.StatusCode)
	case resp.ContentLength > maxListBytes:
		return nil, tooLong
	}
	der, err := io.ReadAll(io.LimitReader(resp.Body, maxListBytes+1))
	if err == nil && len(der) > maxListBytes {
		err = tooLong
	}
	return der, err
}
