package storagetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// signingMachine drives a back end and a model of the signature requests
// through the same steps.
type signingMachine struct {
	s       *suite
	now     time.Time
	stored  map[storage.Digest]storage.SigningRequest
	serials int
}

// tokens is how many tokens, and as many JWTs, the machine knows: few, so that
// they are taken now and then.
const tokens = 6

// testSigningMachine is the property that no order of creations, moves, sweeps
// and time leads a signature request where the contract doesn't.
func testSigningMachine(t *testing.T, s *suite) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &signingMachine{s: &suite{Backend: s.open(t)}, now: at(0), stored: map[storage.Digest]storage.SigningRequest{}}
		rt.Repeat(map[string]func(*rapid.T){
			"create":   m.create,
			"download": m.download,
			"sign":     m.sign,
			"retrieve": m.retrieve,
			"wait":     m.wait,
			"sweep":    m.sweep,
			"":         m.check,
		})
		require.NoError(rt, m.s.Close())
	})
}

func (m *signingMachine) token(rt *rapid.T) storage.Digest {
	return digest(fmt.Sprint("machine's token ", rapid.IntRange(1, tokens).Draw(rt, "token")))
}

func (m *signingMachine) create(rt *rapid.T) {
	r := signing(m.now)
	r.Token = m.token(rt)
	r.ExpiresAt = r.Deadline.Add(rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(rt, "kept"))
	r.Replay = nil
	if jwt := rapid.IntRange(0, tokens).Draw(rt, "JWT"); jwt > 0 {
		r.Replay = new(digest(fmt.Sprint("machine's JWT ", jwt)))
	}
	_, taken := m.stored[r.Token]
	for _, other := range m.stored {
		taken = taken || r.Replay != nil && other.Replay != nil && *r.Replay == *other.Replay
	}
	err := m.s.CreateSigningRequest(context.Background(), r)
	if taken {
		require.ErrorIs(rt, err, storage.ErrExists)
		return
	}
	require.NoError(rt, err)
	m.stored[r.Token] = r
}

// move checks what a back end answers to a move of a token from a state, and
// makes the same move in the model.
func (m *signingMachine) move(rt *rapid.T, token storage.Digest, from storage.SigningStatus, move func(r *storage.SigningRequest), got storage.SigningRequest, changed bool, err error) {
	want, ok := m.stored[token]
	if !ok {
		require.ErrorIs(rt, err, storage.ErrNotFound)
		require.False(rt, changed)
		return
	}
	require.NoError(rt, err)
	require.Equal(rt, want.Status == from, changed)
	if changed {
		move(&want)
	}
	require.Equal(rt, want, got)
	if want.Status == storage.SigningRetrieved {
		want.Response = nil
	}
	m.stored[token] = want
}

func (m *signingMachine) download(rt *rapid.T) {
	token := m.token(rt)
	var binding *storage.Digest
	if rapid.Bool().Draw(rt, "bound") {
		m.serials++
		binding = new(digest(fmt.Sprint("cookie ", m.serials)))
	}
	got, changed, err := m.s.DownloadSigningRequest(context.Background(), token, binding)
	m.move(rt, token, storage.SigningRequested, func(r *storage.SigningRequest) {
		r.Status, r.Binding = storage.SigningDownloaded, binding
	}, got, changed, err)
}

func (m *signingMachine) sign(rt *rapid.T) {
	token := m.token(rt)
	m.serials++
	response := fmt.Appendf(nil, "response %d", m.serials)
	expires := m.now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Hour}).Draw(rt, "retention"))
	got, changed, err := m.s.SignSigningRequest(context.Background(), token, response, expires)
	m.move(rt, token, storage.SigningDownloaded, func(r *storage.SigningRequest) {
		r.Status, r.JWT, r.Response, r.ExpiresAt = storage.SigningSigned, nil, response, expires
	}, got, changed, err)
}

func (m *signingMachine) retrieve(rt *rapid.T) {
	token := m.token(rt)
	got, changed, err := m.s.RetrieveSigningRequest(context.Background(), token)
	m.move(rt, token, storage.SigningSigned, func(r *storage.SigningRequest) { r.Status = storage.SigningRetrieved }, got, changed, err)
}

func (m *signingMachine) wait(rt *rapid.T) {
	m.now = m.now.Add(rapid.SampledFrom([]time.Duration{time.Microsecond, time.Minute, 10 * time.Minute, time.Hour}).Draw(rt, "time"))
}

func (m *signingMachine) sweep(rt *rapid.T) {
	got, err := m.s.Sweep(context.Background(), storage.SweepRequest{Now: m.now})
	require.NoError(rt, err)
	var want storage.Swept
	for token, r := range m.stored {
		if r.ExpiresAt.Before(m.now) && r.Deadline.Before(m.now) {
			delete(m.stored, token)
			want.Requests++
		}
	}
	require.Equal(rt, want, got)
}

func (m *signingMachine) check(rt *rapid.T) {
	for i := range tokens {
		token := digest(fmt.Sprint("machine's token ", i+1))
		got, err := m.s.SigningRequest(context.Background(), token)
		want, ok := m.stored[token]
		if !ok {
			require.ErrorIs(rt, err, storage.ErrNotFound)
			continue
		}
		require.NoError(rt, err)
		require.Equal(rt, want, got)
	}
}
