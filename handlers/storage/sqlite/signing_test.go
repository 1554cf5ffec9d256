//go:build unix

package sqlite

import (
	"crypto/rand"
	"crypto/sha256"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// benchRequest is a signature request with a JWT of 2 KiB, as POST makes them.
func benchRequest(now time.Time) storage.SigningRequest {
	r := storage.SigningRequest{
		Client: "client-1", JWT: make([]byte, 2<<10), State: "eyJwck51bWJlciI6MX0=", HasState: true,
		CreatedAt: now, Deadline: now.Add(10 * time.Minute), ExpiresAt: now.Add(10 * time.Minute),
	}
	_, _ = rand.Read(r.Token[:])
	_, _ = rand.Read(r.JWT)
	r.Replay = new(storage.Digest(sha256.Sum256(r.JWT)))
	return r
}

// TestSigningFault: a move whose commit fails has not happened, and can be
// made again.
func TestSigningFault(t *testing.T) {
	ctx := t.Context()
	s := New(Config{Path: filepath.Join(t.TempDir(), "x.db")})
	var faulty atomic.Bool
	broken := errors.New("the disk is on fire")
	s.failpoint = func() error {
		if faulty.Load() {
			return broken
		}
		return nil
	}
	require.NoError(t, s.Open(ctx))
	defer func() { require.NoError(t, s.Close()) }()
	r := benchRequest(time.Now())
	for _, step := range []struct {
		name string
		want storage.SigningStatus
		move func() error
	}{
		{"create", storage.SigningRequested, func() error { return s.CreateSigningRequest(ctx, r) }},
		{"download", storage.SigningDownloaded, func() error {
			_, changed, err := s.DownloadSigningRequest(ctx, r.Token, nil)
			assert.Equal(t, err == nil, changed)
			return err
		}},
		{"sign", storage.SigningSigned, func() error {
			_, changed, err := s.SignSigningRequest(ctx, r.Token, []byte("{}"), time.Now())
			assert.Equal(t, err == nil, changed)
			return err
		}},
		{"retrieve", storage.SigningRetrieved, func() error {
			got, changed, err := s.RetrieveSigningRequest(ctx, r.Token)
			assert.Equal(t, err == nil, changed)
			assert.Equal(t, err == nil, got.Response != nil)
			return err
		}},
	} {
		faulty.Store(true)
		err := step.move()
		require.ErrorIs(t, err, storage.ErrUnavailable, step.name)
		require.ErrorIs(t, err, broken, step.name)
		faulty.Store(false)
		awaitUse(t, s)
		require.NoError(t, step.move(), step.name)
		got, err := s.SigningRequest(ctx, r.Token)
		require.NoError(t, err)
		assert.Equal(t, step.want, got.Status)
	}
}

// TestSigningFootprint: neither signed requests nor swept ones leave a JWT.
func TestSigningFootprint(t *testing.T) {
	ctx := t.Context()
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	jwts := func() (n int64) {
		require.NoError(t, s.read(ctx, "counting", func(c *conn) (err error) {
			n, _, err = c.one(ctx, `SELECT count(*) FROM signing_jwt`)
			return err
		}))
		return n
	}
	now := time.Now()
	r := benchRequest(now)
	require.NoError(t, s.CreateSigningRequest(ctx, r))
	require.NoError(t, s.CreateSigningRequest(ctx, benchRequest(now)))
	_, _, err := s.DownloadSigningRequest(ctx, r.Token, nil)
	require.NoError(t, err)
	assert.EqualValues(t, 2, jwts())
	_, _, err = s.SignSigningRequest(ctx, r.Token, []byte("{}"), now.Add(time.Hour))
	require.NoError(t, err)
	assert.EqualValues(t, 1, jwts())
	swept, err := s.Sweep(ctx, storage.SweepRequest{Now: now.Add(30 * time.Minute)})
	require.NoError(t, err)
	assert.Equal(t, storage.Swept{Requests: 1}, swept)
	assert.Zero(t, jwts())
}

// TestSigningPlans: every statement that meets signature requests finds them by
// an index.
func TestSigningPlans(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "x.db"))
	for _, text := range []string{
		`SELECT ` + signingRequest + ` FROM signing_request WHERE token = ?`,
		`UPDATE signing_request SET status = ? WHERE token = ? AND status = ?`,
		`DELETE FROM signing_jwt WHERE no = (SELECT no FROM signing_request WHERE token = ?)`,
		deleteExpiredSigning,
	} {
		require.NoError(t, s.read(t.Context(), "explaining", func(c *conn) error {
			return c.query(t.Context(), func(row []driver.Value) error {
				assert.False(t, strings.HasPrefix(asText(row[3]), "SCAN"), "%s: %s", text, row[3])
				return nil
			}, `EXPLAIN QUERY PLAN `+strings.ReplaceAll(text, "?", "0"))
		}))
	}
}
