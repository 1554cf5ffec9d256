package evidence

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// cached is one card, one list and a verifier that keeps what it fetched.
type cached struct {
	*crlServer
	t      *testing.T
	root   *authority
	clock  *clock
	v      *Verifier
	upload Upload
}

func newCached(t *testing.T) *cached {
	t.Helper()
	c := &cached{crlServer: newCRLServer(t), t: t, root: newAuthority(t, "Root", nil), clock: &clock{t: testNow}}
	c.v = newVerifier(t, Config{Roots: pool(c.root), Revocation: RevocationHard, AllowPrivate: []string{"127.0.0.1"}, Now: c.clock.now})
	c.upload = newUpload(t, c.root, 1, serial(7), c.at("/crl"))
	return c
}

// publish serves a list that was made now and is in force for a time.
func (c *cached) publish(lifetime time.Duration, revoked ...int64) {
	c.serve("/crl", c.root.crl(c.t, revoked, func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = c.clock.now(), c.clock.now().Add(lifetime)
	}))
}

// verify returns the code of the refusal and how many fetches it took.
func (c *cached) verify() (Code, int64) {
	c.t.Helper()
	before := c.hits.Load()
	_, err := c.v.Verify(c.t.Context(), c.upload)
	if err == nil {
		return "", c.hits.Load() - before
	}
	return CodeOf(err), c.hits.Load() - before
}

func (c *cached) expect(code Code, fetches int64) {
	c.t.Helper()
	gotCode, got := c.verify()
	require.Equal(c.t, code, gotCode)
	require.Equal(c.t, fetches, got)
}

func TestCacheUntilNextUpdate(t *testing.T) {
	c := newCached(t)
	c.publish(10 * time.Minute)
	c.expect("", 1)
	c.expect("", 0)
	c.clock.advance(10*time.Minute - time.Second)
	c.publish(10*time.Minute, 7)
	c.expect("", 0)
	c.clock.advance(time.Second)
	c.expect(CodeRevoked, 1)
	c.expect(CodeRevoked, 0)
}

func TestCacheAnHourAtMost(t *testing.T) {
	c := newCached(t)
	c.publish(30 * 24 * time.Hour)
	c.expect("", 1)
	c.clock.advance(time.Hour - time.Second)
	c.publish(30*24*time.Hour, 7)
	c.expect("", 0)
	c.clock.advance(time.Second)
	c.expect(CodeRevoked, 1)
}

func TestFailuresAreRememberedForAMinute(t *testing.T) {
	c := newCached(t)
	c.expect(CodeRevocationUnknown, 1)
	c.publish(time.Hour)
	c.expect(CodeRevocationUnknown, 0)
	c.clock.advance(time.Minute - time.Second)
	c.expect(CodeRevocationUnknown, 0)
	c.clock.advance(time.Second)
	c.expect("", 1)
}

// A list that is still in force is used when its successor can't be had.
func TestOldListOutlivesAFailure(t *testing.T) {
	c := newCached(t)
	c.publish(2*time.Hour, 7)
	c.expect(CodeRevoked, 1)
	c.remove("/crl")
	c.clock.advance(time.Hour)
	c.expect(CodeRevoked, 1)
	c.expect(CodeRevoked, 0) // asks again after a minute only
	c.clock.advance(time.Minute)
	c.expect(CodeRevoked, 1)
	c.clock.advance(time.Hour) // it ran out
	c.expect(CodeRevocationUnknown, 1)
}

// Who can answer for the server can't bring back a list from before the
// revocation.
func TestOlderListIsIgnored(t *testing.T) {
	c := newCached(t)
	old := c.root.crl(t, nil, func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = testNow.Add(-time.Hour), testNow.Add(24*time.Hour)
	})
	c.publish(3*time.Hour, 7)
	c.expect(CodeRevoked, 1)
	c.serve("/crl", old)
	c.clock.advance(time.Hour)
	c.expect(CodeRevoked, 1)
}

// Two authorities with one address: what one signed says nothing of the other.
func TestCacheByAuthority(t *testing.T) {
	c := newCached(t)
	other := newAuthority(t, "Root", nil)
	c.v = newVerifier(t, Config{Roots: pool(c.root, other), Revocation: RevocationHard, AllowPrivate: []string{"127.0.0.1"}})
	c.publish(time.Hour)
	c.expect("", 1)
	c.upload = newUpload(t, other, 1, serial(7), c.at("/crl"))
	c.expect(CodeRevocationUnknown, 1)
}

func TestCacheIsBounded(t *testing.T) {
	l, err := newLists(nil, nil, atTestNow)
	require.NoError(t, err)
	key := func(i int) listKey { return listKey{address: fmt.Sprint(i)} }
	for i := range maxLists + 10 {
		next := testNow.Add(30*time.Minute + time.Duration(i)*time.Second)
		_, err := l.remember(key(i), &list{thisUpdate: testNow, nextUpdate: next, size: 1}, nil)
		require.NoError(t, err)
	}
	assert.Len(t, l.known, maxLists)
	_, first := l.recall(key(9))
	_, kept := l.recall(key(10))
	assert.False(t, first, "what runs out first goes first")
	assert.True(t, kept)

	for i := range 8 {
		_, err := l.remember(key(1000+i), &list{thisUpdate: testNow, nextUpdate: testNow.Add(10 * time.Minute), size: maxListBytes}, nil)
		require.NoError(t, err)
	}
	size := 0
	for _, k := range l.known {
		size += k.size()
	}
	assert.LessOrEqual(t, size, maxCacheBytes)
	_, last := l.recall(key(1007))
	assert.True(t, last, "what was fetched last stays")
}

func TestOneFlight(t *testing.T) {
	c := newCached(t)
	der := c.root.crl(t, nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	c.handle("/crl", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived) // panics at a second request
		<-release
		_, _ = w.Write(der)
	})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			_, err := c.v.Verify(t.Context(), c.upload)
			assert.NoError(t, err)
		})
	}
	<-arrived
	close(release)
	all.Wait()
	assert.EqualValues(t, 1, c.hits.Load())
}

func TestFetchesAtOnce(t *testing.T) {
	c := newCached(t)
	der := c.root.crl(t, nil)
	var mu sync.Mutex
	var running, most int
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	handler := func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		arrived <- struct{}{}
		<-release
		mu.Lock()
		running--
		mu.Unlock()
		_, _ = w.Write(der)
	}
	uploads := make([]Upload, 3*maxFetches)
	for i := range uploads {
		path := fmt.Sprintf("/crl%d", i)
		c.handle(path, handler)
		uploads[i] = newUpload(t, c.root, 1, func(x *x509.Certificate) { x.SerialNumber = big.NewInt(int64(i + 1)) }, c.at(path))
	}
	var all sync.WaitGroup
	for _, u := range uploads {
		all.Go(func() {
			_, err := c.v.Verify(t.Context(), u)
			assert.NoError(t, err)
		})
	}
	for range maxFetches {
		<-arrived
	}
	close(release)
	all.Wait()
	assert.Equal(t, maxFetches, most)
}
