package cryptoki

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fake is a module that counts how often it begins and ends.
type fake struct {
	API

	mu                      sync.Mutex
	initialized, finalized  int
	initialize              func() error
	hangInInit, hangInFinal chan struct{}
}

func (f *fake) Initialize() error {
	f.mu.Lock()
	f.initialized++
	f.mu.Unlock()
	if f.hangInInit != nil {
		<-f.hangInInit
	}
	if f.initialize != nil {
		return f.initialize()
	}
	return nil
}

func (f *fake) Finalize() error {
	f.mu.Lock()
	f.finalized++
	f.mu.Unlock()
	if f.hangInFinal != nil {
		<-f.hangInFinal
	}
	return nil
}

func (f *fake) counts() [2]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return [2]int{f.initialized, f.finalized}
}

func (f *fake) entry() *entry {
	return &entry{path: "/fake.so", load: func() (library, error) { return f, nil }}
}

var quiet = slog.New(slog.DiscardHandler)

func nothing(API, func()) error { return nil }

func TestOneBeginningForAll(t *testing.T) {
	f := &fake{}
	e := f.entry()
	first, err := e.open(quiet)
	require.NoError(t, err)
	second, err := e.open(quiet)
	require.NoError(t, err)
	assert.Equal(t, [2]int{1, 0}, f.counts())
	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "twice is once")
	assert.Equal(t, [2]int{1, 0}, f.counts())
	require.NoError(t, second.Do(t.Context(), time.Second, nothing))
	require.ErrorIs(t, first.Do(t.Context(), time.Second, nothing), ErrClosed)
	require.NoError(t, second.Close())
	assert.Equal(t, [2]int{1, 1}, f.counts())
	require.ErrorIs(t, second.Do(t.Context(), time.Second, nothing), ErrClosed)

	third, err := e.open(quiet)
	require.NoError(t, err)
	require.NoError(t, third.Do(t.Context(), time.Second, nothing))
	require.NoError(t, third.Close())
	assert.Equal(t, [2]int{2, 2}, f.counts())
}

func TestWhoInitializesFinalizes(t *testing.T) {
	f := &fake{initialize: func() error {
		return Error{Function: "C_Initialize", Code: pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED}
	}}
	m, err := f.entry().open(quiet)
	require.NoError(t, err)
	require.NoError(t, m.Close())
	assert.Equal(t, [2]int{1, 0}, f.counts())
}

func TestFailedBeginning(t *testing.T) {
	fail := true
	f := &fake{initialize: func() error {
		if fail {
			return Error{Function: "C_Initialize", Code: pkcs11.CKR_GENERAL_ERROR}
		}
		return nil
	}}
	e := f.entry()
	_, err := e.open(quiet)
	require.ErrorContains(t, err, "/fake.so can't be initialised")
	assert.EqualValues(t, pkcs11.CKR_GENERAL_ERROR, CodeOf(err))
	fail = false
	m, err := e.open(quiet)
	require.NoError(t, err, "another time")
	require.NoError(t, m.Close())

	e = &entry{path: "/fake.so", load: func() (library, error) { return nil, errors.New("odd") }}
	_, err = e.open(quiet)
	require.EqualError(t, err, "odd")
}

func TestOneJobAtATime(t *testing.T) {
	m, err := Use(&fake{}, quiet)
	require.NoError(t, err)
	defer func() { assert.NoError(t, m.Close()) }()
	var all sync.WaitGroup
	inside, n := 0, 0
	for range 50 {
		all.Go(func() {
			assert.NoError(t, m.Do(context.Background(), time.Minute, func(API, func()) error {
				inside++ // the race detector watches
				assert.Equal(t, 1, inside)
				inside--
				n++
				return nil
			}))
		})
	}
	all.Wait()
	assert.Equal(t, 50, n)
}

func TestJobsErrors(t *testing.T) {
	m, err := Use(&fake{}, quiet)
	require.NoError(t, err)
	defer func() { assert.NoError(t, m.Close()) }()
	odd := errors.New("odd")
	require.Equal(t, odd, m.Do(t.Context(), time.Second, func(API, func()) error { return odd }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, m.Do(ctx, time.Second, func(API, func()) error {
		t.Error("a job of somebody who has left")
		return nil
	}), context.Canceled)
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := Use(&fake{}, quiet)
		require.NoError(t, err)
		release, arrived := make(chan struct{}), make(chan struct{})
		first := make(chan error, 1)
		go func() {
			first <- m.Do(t.Context(), time.Hour, func(API, func()) error {
				close(arrived)
				<-release
				return nil
			})
		}()
		<-arrived
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, m.Do(ctx, time.Second, nothing), context.DeadlineExceeded)
		close(release)
		require.NoError(t, <-first)
		require.NoError(t, m.Close())
	})
}

func TestHangingBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hangInInit: make(chan struct{})}
		e := f.entry()
		_, err := e.open(quiet)
		require.ErrorIs(t, err, ErrNoAnswer)
		_, err = e.open(quiet)
		require.ErrorIs(t, err, ErrBusy, "not a second thread")
		close(f.hangInInit)
		synctest.Wait()
		assert.Equal(t, [2]int{1, 1}, f.counts())
		m, err := e.open(quiet)
		require.NoError(t, err)
		require.NoError(t, m.Close())
	})
}

func TestHangingEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hangInFinal: make(chan struct{})}
		e := f.entry()
		m, err := e.open(quiet)
		require.NoError(t, err)
		require.ErrorIs(t, m.Close(), ErrNoAnswer)
		_, err = e.open(quiet)
		require.ErrorIs(t, err, ErrBusy)
		close(f.hangInFinal)
	})
}

// A job that is running when the last user closes ends first.
func TestCloseWaitsForTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		m, err := f.entry().open(quiet)
		require.NoError(t, err)
		arrived, done := make(chan struct{}), make(chan error, 1)
		go func() {
			done <- m.Do(t.Context(), time.Hour, func(API, func()) error {
				close(arrived)
				time.Sleep(time.Second)
				assert.Equal(t, [2]int{1, 0}, f.counts())
				return nil
			})
		}()
		<-arrived
		require.NoError(t, m.Close())
		require.NoError(t, <-done)
		assert.Equal(t, [2]int{1, 1}, f.counts())
	})
}

func TestModuleFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "module.so")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	link := filepath.Join(dir, "link.so")
	require.NoError(t, os.Symlink(file, link))
	want, err := filepath.EvalSymlinks(file)
	require.NoError(t, err)
	for _, path := range []string{file, link, filepath.Join(dir, "..", filepath.Base(dir), "link.so")} {
		got, err := moduleFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	assert.Same(t, entryOf(want), entryOf(want))
	assert.False(t, InUse(file))
	assert.False(t, InUse("relative"))
}

func TestErrorText(t *testing.T) {
	e := Error{Function: "C_Login", Code: pkcs11.CKR_PIN_INCORRECT}
	assert.Contains(t, e.Error(), "pkcs11: C_Login: ")
	assert.Contains(t, e.Error(), "0xA0")
	if available {
		assert.Equal(t, "pkcs11: C_Login: CKR_PIN_INCORRECT (0xA0)", e.Error())
	}
	assert.Equal(t, "pkcs11: C_Sign: error 0x80000005", Error{Function: "C_Sign", Code: pkcs11.CKR_VENDOR_DEFINED + 5}.Error())
	assert.Zero(t, CodeOf(errors.New("other")))
	assert.Zero(t, CodeOf(nil))
}

func TestAttributes(t *testing.T) {
	assert.Equal(t, Attribute{1, []byte{1}}, Bool(1, true))
	assert.Equal(t, Attribute{1, []byte{0}}, Bool(1, false))
	assert.Equal(t, Attribute{2, []byte("text")}, Bytes(2, "text"))
	assert.Len(t, Number(3, 7).Value, len(pkcs11Number(7)))
	assert.Equal(t, pkcs11Number(0x010203), Number(3, 0x010203).Value)
	assert.True(t, IsTrue([]byte{1}))
	for _, value := range [][]byte{nil, {0}, {1, 1}} {
		assert.False(t, IsTrue(value))
	}
}
