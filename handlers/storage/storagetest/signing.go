package storagetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func digest(text string) storage.Digest { return sha256.Sum256([]byte(text)) }

// signing returns a signature request with every field set that a creation
// keeps.
func signing(created time.Time) storage.SigningRequest {
	n := serial.Add(1)
	jwt := fmt.Sprintf("header.claims-%d.signature", n)
	return storage.SigningRequest{
		Token: digest(fmt.Sprint("token ", n)), Client: "client-1", Bearer: "bearer-1", JWT: []byte(jwt), Replay: new(digest(jwt)),
		State: "state\x00\xff", HasState: true, Status: storage.SigningRequested,
		CreatedAt: created, Deadline: created.Add(10 * time.Minute), ExpiresAt: created.Add(10 * time.Minute),
	}
}

// requestSignature stores a signature request that must be new.
func (s *suite) requestSignature(t *testing.T, r storage.SigningRequest) storage.SigningRequest {
	t.Helper()
	require.NoError(t, s.CreateSigningRequest(t.Context(), r))
	return r
}

func (s *suite) signature(t *testing.T, token storage.Digest) storage.SigningRequest {
	t.Helper()
	got, err := s.SigningRequest(t.Context(), token)
	require.NoError(t, err)
	return got
}

// moved checks that a move succeeded and that it is stored.
func (s *suite) moved(t *testing.T, want storage.SigningRequest, got storage.SigningRequest, changed bool, err error) {
	t.Helper()
	require.NoError(t, err)
	assert.True(t, changed)
	assert.Equal(t, want, got)
	assert.Equal(t, want, s.signature(t, want.Token))
}

func testSigningRequest(t *testing.T, s *suite) {
	_, err := s.SigningRequest(t.Context(), digest("unknown"))
	require.ErrorIs(t, err, storage.ErrNotFound)
	bytesOf256 := make([]byte, storage.MaxSigningState)
	for i := range bytesOf256 {
		bytesOf256[i] = byte(255 - i)
	}
	for name, change := range map[string]func(r *storage.SigningRequest){
		"all":           func(*storage.SigningRequest) {},
		"no replay":     func(r *storage.SigningRequest) { r.Replay = nil },
		"no replay too": func(r *storage.SigningRequest) { r.Replay = nil },
		"no state":      func(r *storage.SigningRequest) { r.State, r.HasState = "", false },
		"empty state":   func(r *storage.SigningRequest) { r.State = "" },
		"any state":     func(r *storage.SigningRequest) { r.State = string(bytesOf256) },
		"no bearer":     func(r *storage.SigningRequest) { r.Bearer = "" },
		"large":         func(r *storage.SigningRequest) { r.JWT = bytes.Repeat([]byte("a.\x00\xff"), 1<<18) },
		"kept longer":   func(r *storage.SigningRequest) { r.ExpiresAt = at(week) },
	} {
		want := signing(at(0))
		change(&want)
		in := want
		in.JWT = bytes.Clone(want.JWT)
		if want.Replay != nil {
			in.Replay = new(*want.Replay)
		}
		// What the later states set can't be handed in.
		in.Status, in.Binding, in.Response = "", new(digest("cookie")), []byte("{}")
		s.requestSignature(t, in)
		in.JWT[0] ^= 0xff // the caller's own
		if in.Replay != nil {
			in.Replay[0] ^= 0xff
		}
		got := s.signature(t, want.Token)
		assert.Equal(t, want, got, name)
		got.JWT[0] ^= 0xff // the caller's own copy
		if got.Replay != nil {
			got.Replay[0] ^= 0xff
		}
		assert.Equal(t, want, s.signature(t, want.Token), name)
	}
	rough := signing(time.Date(2026, 11, 22, 13, 0, 0, 1234567, time.FixedZone("", 3600)))
	s.requestSignature(t, rough)
	got := s.signature(t, rough.Token)
	noon := time.Date(2026, 11, 22, 12, 0, 0, 1234000, time.UTC)
	assert.Equal(t, []time.Time{noon, noon.Add(10 * time.Minute), noon.Add(10 * time.Minute)}, []time.Time{got.CreatedAt, got.Deadline, got.ExpiresAt})
}

func testSigningInvalid(t *testing.T, s *suite) {
	ctx := t.Context()
	for name, spoil := range map[string]func(r *storage.SigningRequest){
		"token":          func(r *storage.SigningRequest) { r.Token = storage.Digest{} },
		"client":         func(r *storage.SigningRequest) { r.Client = "" },
		"JWT":            func(r *storage.SigningRequest) { r.JWT = nil },
		"replay":         func(r *storage.SigningRequest) { r.Replay = new(storage.Digest{}) },
		"long state":     func(r *storage.SigningRequest) { r.State = strings.Repeat("x", storage.MaxSigningState+1) },
		"state and none": func(r *storage.SigningRequest) { r.HasState = false },
		"created":        func(r *storage.SigningRequest) { r.CreatedAt = time.Time{} },
		"deadline":       func(r *storage.SigningRequest) { r.Deadline = time.Time{} },
		"expires":        func(r *storage.SigningRequest) { r.ExpiresAt = time.Time{} },
		"early expiry":   func(r *storage.SigningRequest) { r.ExpiresAt = r.Deadline.Add(-time.Microsecond) },
		"status":         func(r *storage.SigningRequest) { r.Status = storage.SigningDownloaded },
		"unknown status": func(r *storage.SigningRequest) { r.Status = "cancelled" },
	} {
		bad := signing(at(0))
		token := bad.Token
		spoil(&bad)
		require.ErrorIs(t, s.CreateSigningRequest(ctx, bad), storage.ErrInvalid, name)
		_, err := s.SigningRequest(ctx, token)
		require.ErrorIs(t, err, storage.ErrNotFound, name)
	}
	r := s.requestSignature(t, signing(at(0)))
	downloaded, _, err := s.DownloadSigningRequest(ctx, r.Token, nil)
	require.NoError(t, err)
	for _, c := range []struct {
		response []byte
		expires  time.Time
	}{{nil, at(time.Hour)}, {[]byte{}, at(time.Hour)}, {[]byte("{}"), time.Time{}}} {
		_, changed, err := s.SignSigningRequest(ctx, r.Token, c.response, c.expires)
		require.ErrorIs(t, err, storage.ErrInvalid)
		assert.False(t, changed)
	}
	assert.Equal(t, downloaded, s.signature(t, r.Token), "as it was")
}

func testSigningTaken(t *testing.T, s *suite) {
	ctx := t.Context()
	first := s.requestSignature(t, signing(at(0)))
	sameToken := signing(at(0))
	sameToken.Token = first.Token
	require.ErrorIs(t, s.CreateSigningRequest(ctx, sameToken), storage.ErrExists)
	sameJWT := signing(at(0))
	sameJWT.Replay = first.Replay
	require.ErrorIs(t, s.CreateSigningRequest(ctx, sameJWT), storage.ErrExists)
	_, err := s.SigningRequest(ctx, sameJWT.Token)
	require.ErrorIs(t, err, storage.ErrNotFound)
	assert.Equal(t, first, s.signature(t, first.Token), "as it was")
	// A refused creation takes nothing.
	sameToken.Token = digest("another token")
	s.requestSignature(t, sameToken)

	// The JWT stays used until the end of the last state.
	_, _, err = s.DownloadSigningRequest(ctx, first.Token, nil)
	require.NoError(t, err)
	require.ErrorIs(t, s.CreateSigningRequest(ctx, sameJWT), storage.ErrExists)
	_, _, err = s.SignSigningRequest(ctx, first.Token, []byte("{}"), at(time.Minute))
	require.NoError(t, err)
	require.ErrorIs(t, s.CreateSigningRequest(ctx, sameJWT), storage.ErrExists)
	_, _, err = s.RetrieveSigningRequest(ctx, first.Token)
	require.NoError(t, err)
	require.ErrorIs(t, s.CreateSigningRequest(ctx, sameJWT), storage.ErrExists)
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: first.Deadline}), "and of the JWT")
	require.ErrorIs(t, s.CreateSigningRequest(ctx, sameJWT), storage.ErrExists)
	assert.Equal(t, storage.Swept{Requests: 2}, s.sweep(t, storage.SweepRequest{Now: first.Deadline.Add(time.Microsecond)}))
	s.requestSignature(t, sameJWT)
	sameToken.Token = first.Token
	s.requestSignature(t, sameToken)
}

func testSigningStates(t *testing.T, s *suite) {
	ctx := t.Context()
	for _, token := range []storage.Digest{{}, digest("unknown")} {
		_, _, err := s.DownloadSigningRequest(ctx, token, nil)
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, _, err = s.SignSigningRequest(ctx, token, []byte("{}"), at(0))
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, _, err = s.RetrieveSigningRequest(ctx, token)
		require.ErrorIs(t, err, storage.ErrNotFound)
	}
	other := s.requestSignature(t, signing(at(0)))
	for name, binding := range map[string]*storage.Digest{"unbound": nil, "bound": new(digest("cookie"))} {
		t.Run(name, func(t *testing.T) {
			want := s.requestSignature(t, signing(at(0)))
			move := map[storage.SigningStatus]func() (storage.SigningRequest, bool, error){
				storage.SigningRequested: func() (storage.SigningRequest, bool, error) {
					return s.DownloadSigningRequest(ctx, want.Token, new(digest("another cookie")))
				},
				storage.SigningDownloaded: func() (storage.SigningRequest, bool, error) {
					return s.SignSigningRequest(ctx, want.Token, []byte(`{"late":true}`), at(week))
				},
				storage.SigningSigned: func() (storage.SigningRequest, bool, error) {
					return s.RetrieveSigningRequest(ctx, want.Token)
				},
			}
			unmoved := func() {
				t.Helper()
				for from, f := range move {
					if from == want.Status {
						continue
					}
					got, changed, err := f()
					require.NoError(t, err)
					assert.False(t, changed)
					stored := s.signature(t, want.Token)
					assert.Equal(t, stored, got)
					assert.Equal(t, want, stored, "a move from %s", from)
				}
			}
			unmoved()

			given := binding
			if given != nil {
				given = new(*binding)
			}
			got, changed, err := s.DownloadSigningRequest(ctx, want.Token, given)
			if given != nil {
				given[0] ^= 0xff // the caller's own
			}
			want.Status, want.Binding = storage.SigningDownloaded, binding
			s.moved(t, want, got, changed, err)
			unmoved()

			response := []byte("{\"signatures\": [] ,\"x\":\"\\u0000é\"}\n\x00\xff")
			given2 := bytes.Clone(response)
			got, changed, err = s.SignSigningRequest(ctx, want.Token, given2, time.Date(2026, 11, 22, 14, 0, 0, 1234567, time.FixedZone("", 3600)))
			given2[0] ^= 0xff
			want.Status, want.JWT, want.Response = storage.SigningSigned, nil, response
			want.ExpiresAt = time.Date(2026, 11, 22, 13, 0, 0, 1234000, time.UTC)
			s.moved(t, want, got, changed, err)
			got.Response[0] ^= 0xff
			unmoved()

			got, changed, err = s.RetrieveSigningRequest(ctx, want.Token)
			want.Status = storage.SigningRetrieved
			require.NoError(t, err)
			assert.True(t, changed)
			assert.Equal(t, want, got, "with the response")
			want.Response = nil
			assert.Equal(t, want, s.signature(t, want.Token), "which is gone")
			unmoved()
		})
	}
	assert.Equal(t, other, s.signature(t, other.Token))

	// What expires before the JWT is kept until that has passed too, so that the
	// JWT isn't forgotten.
	r := s.requestSignature(t, signing(at(0)))
	_, _, err := s.DownloadSigningRequest(ctx, r.Token, nil)
	require.NoError(t, err)
	r, _, err = s.SignSigningRequest(ctx, r.Token, []byte("{}"), at(time.Second))
	require.NoError(t, err)
	assert.Equal(t, at(time.Second), r.ExpiresAt)
	assert.Equal(t, r, s.signature(t, r.Token))
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: r.Deadline}))
	again := signing(at(0))
	again.Replay = r.Replay
	require.ErrorIs(t, s.CreateSigningRequest(ctx, again), storage.ErrExists)
}

// oneWinner runs a move from many callers at once, of whom one must win. All
// get the request as the winner left it.
func oneWinner(t *testing.T, move func(caller int) (storage.SigningRequest, bool, error)) (winner int, r storage.SigningRequest) {
	t.Helper()
	const callers = 64
	winner = -1
	var mu sync.Mutex
	var losers []storage.SigningRequest
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			got, changed, err := move(i)
			if !assert.NoError(t, err) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if !changed {
				losers = append(losers, got)
				return
			}
			assert.Equal(t, -1, winner, "one winner")
			winner, r = i, got
		})
	}
	wg.Wait()
	require.NotEqual(t, -1, winner)
	require.Len(t, losers, callers-1)
	for _, got := range losers {
		want := r
		if want.Status == storage.SigningRetrieved {
			want.Response = nil
		}
		require.Equal(t, want, got)
	}
	return winner, r
}

func testSigningConcurrently(t *testing.T, s *suite) {
	ctx := t.Context()
	for range 5 {
		r := s.requestSignature(t, signing(at(0)))
		number := func(i int) []byte { return binary.BigEndian.AppendUint64([]byte("response"), uint64(i)) } //nolint:gosec // small
		winner, got := oneWinner(t, func(i int) (storage.SigningRequest, bool, error) {
			return s.DownloadSigningRequest(ctx, r.Token, new(digest(fmt.Sprint("cookie ", i))))
		})
		assert.Equal(t, new(digest(fmt.Sprint("cookie ", winner))), got.Binding)
		assert.Equal(t, r.JWT, got.JWT)
		winner, got = oneWinner(t, func(i int) (storage.SigningRequest, bool, error) {
			return s.SignSigningRequest(ctx, r.Token, number(i), at(time.Hour))
		})
		assert.Equal(t, number(winner), got.Response)
		assert.Equal(t, got, s.signature(t, r.Token))
		_, retrieved := oneWinner(t, func(int) (storage.SigningRequest, bool, error) {
			return s.RetrieveSigningRequest(ctx, r.Token)
		})
		assert.Equal(t, got.Response, retrieved.Response)
		assert.Nil(t, s.signature(t, r.Token).Response)
	}
}

func testSigningReplaysConcurrently(t *testing.T, s *suite) {
	for range 10 {
		replay := new(digest(fmt.Sprint("JWT ", serial.Add(1))))
		var stored atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				r := signing(at(0))
				r.Replay = replay
				err := s.CreateSigningRequest(t.Context(), r)
				got, readErr := s.SigningRequest(t.Context(), r.Token)
				if err == nil {
					stored.Add(1)
					assert.NoError(t, readErr, "what was acknowledged can be read")
					assert.Equal(t, r, got)
					return
				}
				assert.ErrorIs(t, err, storage.ErrExists)
				assert.ErrorIs(t, readErr, storage.ErrNotFound)
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, stored.Load())
	}
}

func testSweepSigning(t *testing.T, s *suite) {
	ctx := t.Context()
	const each = 150 // more than a back end may remove in one write
	requests := make([]storage.SigningRequest, each)
	for i := range requests {
		requests[i] = s.requestSignature(t, signing(at(0)))
	}
	kept := s.requestSignature(t, signing(at(time.Hour)))
	signed := s.requestSignature(t, signing(at(0)))
	_, _, err := s.DownloadSigningRequest(ctx, signed.Token, nil)
	require.NoError(t, err)
	signed, _, err = s.SignSigningRequest(ctx, signed.Token, []byte("{}"), at(time.Hour))
	require.NoError(t, err)

	now := requests[0].ExpiresAt
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: now}), "the last instant is kept")
	now = now.Add(time.Microsecond)
	assert.Equal(t, storage.Swept{Requests: 10, More: true}, s.sweep(t, storage.SweepRequest{Now: now, Limit: 10}))
	left := 0
	for _, r := range requests {
		if _, err := s.SigningRequest(ctx, r.Token); err == nil {
			left++
		}
	}
	assert.Equal(t, each-10, left)
	assert.Equal(t, storage.Swept{Requests: each - 10}, s.sweep(t, storage.SweepRequest{Now: now}))
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: now}))
	for _, r := range requests {
		_, err := s.SigningRequest(ctx, r.Token)
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, _, err = s.DownloadSigningRequest(ctx, r.Token, nil)
		require.ErrorIs(t, err, storage.ErrNotFound)
	}
	s.requestSignature(t, requests[0]) // neither token nor JWT are remembered
	assert.Equal(t, kept, s.signature(t, kept.Token))
	assert.Equal(t, signed, s.signature(t, signed.Token))
	assert.Equal(t, storage.Swept{Requests: 3}, s.sweep(t, storage.SweepRequest{Now: at(week)}))
}
