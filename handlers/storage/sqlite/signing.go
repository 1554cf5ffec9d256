package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// PutSigningClient creates a client of the signing API.
func (s *Store) PutSigningClient(ctx context.Context, c storage.SigningClient) error {
	c, err := c.Normalised()
	if err != nil {
		return err
	}
	return s.write(ctx, "storing a signing client", func(w *writer) error {
		return unless(storage.ErrExists)(w.c.exec(w.ctx, `INSERT INTO signing_client (id, name, keys, callback, created_at)
			VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, c.ID, c.Name, c.Keys, c.Callback, c.CreatedAt))
	})
}

const signingClients = `SELECT id, name, keys, callback, created_at FROM signing_client `

func decodeSigningClient(v []driver.Value) storage.SigningClient {
	return storage.SigningClient{
		ID: asText(v[0]), Name: asText(v[1]), Keys: asBytes(v[2]), Callback: asText(v[3]), CreatedAt: asTime(v[4]),
	}
}

// SigningClient returns one client of the signing API.
func (s *Store) SigningClient(ctx context.Context, id string) (storage.SigningClient, error) {
	return only(list(ctx, s, "reading a signing client", decodeSigningClient, signingClients+`WHERE id = ?`, id))
}

// SigningClients returns all clients of the signing API by creation.
func (s *Store) SigningClients(ctx context.Context) ([]storage.SigningClient, error) {
	return list(ctx, s, "listing signing clients", decodeSigningClient, signingClients+`ORDER BY no`)
}

// DeleteSigningClient ends a client of the signing API.
func (s *Store) DeleteSigningClient(ctx context.Context, id string) error {
	return s.write(ctx, "removing a signing client", func(w *writer) error {
		return unless(storage.ErrNotFound)(w.c.exec(w.ctx, `DELETE FROM signing_client WHERE id = ?`, id))
	})
}

// CreateSigningRequest stores a signature request.
func (s *Store) CreateSigningRequest(ctx context.Context, r storage.SigningRequest) error {
	r, err := r.Normalised()
	if err != nil {
		return err
	}
	args := named([]any{
		r.Token[:], r.Client, r.Bearer, digestBytes(r.Replay), []byte(r.State), asFlag(r.HasState), string(r.Status),
		r.CreatedAt, r.Deadline, r.ExpiresAt,
	})
	return s.write(ctx, "storing a signature request", func(w *writer) error {
		if err := unless(storage.ErrExists)(w.c.execNamed(w.ctx, `INSERT INTO signing_request (token, client, bearer, replay,
			state, has_state, status, created_at, deadline, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, args)); err != nil {
			return err
		}
		_, err := w.c.exec(w.ctx, `INSERT INTO signing_jwt (no, jwt) VALUES (last_insert_rowid(), ?)`, r.JWT)
		return err
	})
}

func digestBytes(d *storage.Digest) []byte {
	if d == nil {
		return nil
	}
	return d[:]
}

// signingRow is the columns of signing_request that decodeSigningRequest reads,
// signingRequest those with the JWT.
const (
	signingRow = `token, client, bearer, replay, state, has_state, status, binding, created_at, deadline, expires_at,
		response`
	signingRequest = signingRow + `, (SELECT j.jwt FROM signing_jwt AS j WHERE j.no = signing_request.no)`
)

func decodeSigningRequest(v []driver.Value) (r storage.SigningRequest, err error) {
	r = storage.SigningRequest{
		Client: asText(v[1]), Bearer: asText(v[2]), State: asText(v[4]), HasState: asInt(v[5]) != 0,
		Status: storage.SigningStatus(asText(v[6])), CreatedAt: asTime(v[8]), Deadline: asTime(v[9]), ExpiresAt: asTime(v[10]),
		Response: asBytes(v[11]),
	}
	if len(v) > 12 {
		r.JWT = asBytes(v[12])
	}
	if r.Token, err = asDigest(v[0]); err != nil {
		return r, err
	}
	if r.Replay, err = asOptionalDigest(v[3]); err != nil {
		return r, err
	}
	r.Binding, err = asOptionalDigest(v[7])
	return r, err
}

func asDigest(v driver.Value) (d storage.Digest, err error) {
	b := asBytes(v)
	if len(b) != len(d) {
		return d, fmt.Errorf("the database holds a digest of %d bytes", len(b))
	}
	return storage.Digest(b), nil
}

// asOptionalDigest returns nil for NULL.
func asOptionalDigest(v driver.Value) (*storage.Digest, error) {
	if v == nil {
		return nil, nil
	}
	d, err := asDigest(v)
	return &d, err
}

// signingRequest returns the one signature request that a statement returns;
// found is false when it returns none.
func (c *conn) signingRequest(ctx context.Context, text string, args ...any) (r storage.SigningRequest, found bool, err error) {
	err = c.query(ctx, func(row []driver.Value) (err error) {
		r, err = decodeSigningRequest(row)
		found = true
		return err
	}, text, args...)
	return r, found, err
}

// storedSigningRequest returns a signature request as it is.
func (c *conn) storedSigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, error) {
	r, found, err := c.signingRequest(ctx, `SELECT `+signingRequest+` FROM signing_request WHERE token = ?`, token[:])
	if err == nil && !found {
		err = storage.ErrNotFound
	}
	return r, err
}

// SigningRequest returns a signature request in any state. Like other reads of
// one row, the query isn't interrupted when ctx ends.
func (s *Store) SigningRequest(ctx context.Context, token storage.Digest) (r storage.SigningRequest, err error) {
	err = s.read(ctx, "reading a signature request", func(c *conn) error {
		r, err = c.storedSigningRequest(context.WithoutCancel(ctx), token)
		return err
	})
	return r, err
}

// DownloadSigningRequest moves a requested signature request on.
func (s *Store) DownloadSigningRequest(ctx context.Context, token storage.Digest, binding *storage.Digest) (storage.SigningRequest, bool, error) {
	return s.moveSigning(ctx, "downloading a signature request", token, func(w *writer) (storage.SigningRequest, bool, error) {
		return w.c.signingRequest(w.ctx, `UPDATE signing_request SET status = ?, binding = ? WHERE token = ? AND status = ?
			RETURNING `+signingRequest, string(storage.SigningDownloaded), digestBytes(binding), token[:], string(storage.SigningRequested))
	})
}

// SignSigningRequest gives a downloaded signature request its result.
func (s *Store) SignSigningRequest(ctx context.Context, token storage.Digest, response []byte, expires time.Time) (storage.SigningRequest, bool, error) {
	if err := transition.CheckSigned(response, expires); err != nil {
		return storage.SigningRequest{}, false, err
	}
	return s.moveSigning(ctx, "storing a signature", token, func(w *writer) (r storage.SigningRequest, changed bool, err error) {
		r, changed, err = w.c.signingRequest(w.ctx, `UPDATE signing_request SET status = ?, response = ?, expires_at = ?
			WHERE token = ? AND status = ? RETURNING `+signingRow,
			string(storage.SigningSigned), response, expires, token[:], string(storage.SigningDownloaded))
		if err != nil || !changed {
			return r, changed, err
		}
		_, err = w.c.exec(w.ctx, `DELETE FROM signing_jwt WHERE no = (SELECT no FROM signing_request WHERE token = ?)`, token[:])
		return r, true, err
	})
}

// RetrieveSigningRequest takes a signature request's result out.
func (s *Store) RetrieveSigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, bool, error) {
	return s.moveSigning(ctx, "retrieving a signature", token, func(w *writer) (storage.SigningRequest, bool, error) {
		// RETURNING knows only what is left, so the result is read before.
		before, err := w.c.storedSigningRequest(w.ctx, token)
		if err != nil {
			return before, false, err
		}
		r, changed, err := w.c.signingRequest(w.ctx, `UPDATE signing_request SET status = ?, response = NULL
			WHERE token = ? AND status = ? RETURNING `+signingRow,
			string(storage.SigningRetrieved), token[:], string(storage.SigningSigned))
		if changed {
			r.Response = before.Response
		}
		return r, changed, err
	})
}

// moveSigning runs move, a compare-and-set of a signature request's status, and
// returns the request as it then is.
func (s *Store) moveSigning(ctx context.Context, doing string, token storage.Digest, move func(w *writer) (storage.SigningRequest, bool, error)) (storage.SigningRequest, bool, error) {
	var r storage.SigningRequest
	var changed bool
	err := s.write(ctx, doing, func(w *writer) (err error) {
		if r, changed, err = move(w); err == nil && !changed {
			r, err = w.c.storedSigningRequest(w.ctx, token)
		}
		return err
	})
	if err != nil {
		return storage.SigningRequest{}, false, err
	}
	return r, changed, nil
}

const deleteExpiredSigning = `DELETE FROM signing_request WHERE no IN
	(SELECT no FROM signing_request WHERE expires_at < ? AND deadline < ? ORDER BY expires_at LIMIT ?)`

// sweepSigning removes signature requests, and their JWTs with them.
func (w *writer) sweepSigning(r storage.SweepRequest) (int64, error) {
	return w.c.exec(w.ctx, deleteExpiredSigning, r.Now, r.Now, r.Limit)
}
