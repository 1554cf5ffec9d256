package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// PutSigningClient creates a client of the signing API.
func (s *Store) PutSigningClient(ctx context.Context, c storage.SigningClient) error {
	c, err := c.Normalised()
	if err != nil {
		return err
	}
	return s.call(ctx, "storing a signing client", func(ctx context.Context, d conn) error {
		return unless(storage.ErrExists)(d.Exec(ctx, `INSERT INTO signpost.signing_client (id, name, keys, callback, created_at)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			asText(c.ID), asText(c.Name), c.Keys, asText(c.Callback), asMicro(c.CreatedAt)))
	})
}

const signingClients = `SELECT id, name, keys, callback, created_at FROM signpost.signing_client `

func decodeSigningClient(row pgx.CollectableRow) (c storage.SigningClient, err error) {
	var created int64
	err = row.Scan(&c.ID, &c.Name, &c.Keys, &c.Callback, &created)
	c.ID, c.Name, c.Callback, c.CreatedAt = fromText(c.ID), fromText(c.Name), fromText(c.Callback), fromMicro(created)
	return c, err
}

// SigningClient returns one client of the signing API.
func (s *Store) SigningClient(ctx context.Context, id string) (storage.SigningClient, error) {
	return only(list(ctx, s, "reading a signing client", decodeSigningClient, signingClients+`WHERE id = $1`, asText(id)))
}

// SigningClients returns all clients of the signing API by creation.
func (s *Store) SigningClients(ctx context.Context) ([]storage.SigningClient, error) {
	return list(ctx, s, "listing signing clients", decodeSigningClient, signingClients+`ORDER BY no`)
}

// DeleteSigningClient ends a client of the signing API.
func (s *Store) DeleteSigningClient(ctx context.Context, id string) error {
	return s.call(ctx, "removing a signing client", func(ctx context.Context, c conn) error {
		return unless(storage.ErrNotFound)(c.Exec(ctx, `DELETE FROM signpost.signing_client WHERE id = $1`, asText(id)))
	})
}

// CreateSigningRequest stores a signature request. The server itself lets
// concurrent commits share a sync.
func (s *Store) CreateSigningRequest(ctx context.Context, r storage.SigningRequest) error {
	r, err := r.Normalised()
	if err != nil {
		return err
	}
	return s.call(ctx, "storing a signature request", func(ctx context.Context, c conn) error {
		return unless(storage.ErrExists)(c.Exec(ctx, `INSERT INTO signpost.signing_request (token, client, bearer, replay, state,
			has_state, status, created_at, deadline, expires_at, jwt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT DO NOTHING`, r.Token[:], asText(r.Client), asText(r.Bearer), digestBytes(r.Replay), []byte(r.State),
			r.HasState, string(r.Status), asMicro(r.CreatedAt), asMicro(r.Deadline), asMicro(r.ExpiresAt), r.JWT))
	})
}

func digestBytes(d *storage.Digest) []byte {
	if d == nil {
		return nil
	}
	return d[:]
}

// signingRow is the columns that decodeSigningRequest reads.
const signingRow = `r.token, r.client, r.bearer, r.replay, r.state, r.has_state, r.status, r.binding, r.created_at,
	r.deadline, r.expires_at, r.jwt, r.response`

func decodeSigningRequest(row pgx.CollectableRow) (r storage.SigningRequest, err error) {
	var token, replay, state, binding []byte
	var created, deadline, expires int64
	if err := row.Scan(&token, &r.Client, &r.Bearer, &replay, &state, &r.HasState, &r.Status, &binding, &created, &deadline,
		&expires, &r.JWT, &r.Response); err != nil {
		return r, err
	}
	r.Client, r.Bearer, r.State = fromText(r.Client), fromText(r.Bearer), string(state)
	r.CreatedAt, r.Deadline, r.ExpiresAt = fromMicro(created), fromMicro(deadline), fromMicro(expires)
	t, err := asDigest(token)
	if err != nil || t == nil {
		return r, errors.Join(errors.New("the database holds a signature request without a token"), err)
	}
	r.Token = *t
	if r.Replay, err = asDigest(replay); err != nil {
		return r, err
	}
	r.Binding, err = asDigest(binding)
	return r, err
}

// asDigest returns nil for NULL.
func asDigest(b []byte) (*storage.Digest, error) {
	if b == nil {
		return nil, nil
	}
	if len(b) != len(storage.Digest{}) {
		return nil, fmt.Errorf("the database holds a digest of %d bytes", len(b))
	}
	return new(storage.Digest(b)), nil
}

const storedSigningRequest = `SELECT ` + signingRow + ` FROM signpost.signing_request AS r WHERE token = $1`

// SigningRequest returns a signature request in any state.
func (s *Store) SigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, error) {
	return only(list(ctx, s, "reading a signature request", decodeSigningRequest, storedSigningRequest, token[:]))
}

// DownloadSigningRequest moves a requested signature request on.
func (s *Store) DownloadSigningRequest(ctx context.Context, token storage.Digest, binding *storage.Digest) (storage.SigningRequest, bool, error) {
	return s.moveSigning(ctx, "downloading a signature request", token, `UPDATE signpost.signing_request AS r
		SET status = $3, binding = $4 WHERE token = $1 AND status = $2 RETURNING `+signingRow,
		string(storage.SigningRequested), string(storage.SigningDownloaded), digestBytes(binding))
}

// SignSigningRequest gives a downloaded signature request its result.
func (s *Store) SignSigningRequest(ctx context.Context, token storage.Digest, response []byte, expires time.Time) (storage.SigningRequest, bool, error) {
	if err := transition.CheckSigned(response, expires); err != nil {
		return storage.SigningRequest{}, false, err
	}
	return s.moveSigning(ctx, "storing a signature", token, `UPDATE signpost.signing_request AS r
		SET status = $3, jwt = NULL, response = $4, expires_at = $5
		WHERE token = $1 AND status = $2 RETURNING `+signingRow,
		string(storage.SigningDownloaded), string(storage.SigningSigned), response, asMicro(expires))
}

// RetrieveSigningRequest takes a signature request's result out.
func (s *Store) RetrieveSigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, bool, error) {
	// RETURNING knows only what is left, so the result is read before, from the
	// row that is locked for it.
	return s.moveSigning(ctx, "retrieving a signature", token, `WITH before AS (SELECT token, response FROM signpost.signing_request
			WHERE token = $1 AND status = $2 FOR UPDATE)
		UPDATE signpost.signing_request AS r SET status = $3, response = NULL FROM before
		WHERE r.token = before.token AND r.status = $2
		RETURNING r.token, r.client, r.bearer, r.replay, r.state, r.has_state, r.status, r.binding, r.created_at,
			r.deadline, r.expires_at, r.jwt, before.response`,
		string(storage.SigningSigned), string(storage.SigningRetrieved))
}

// moveSigning runs a compare-and-set of a signature request's status, whose
// first argument is the token, and returns the request as it then is.
func (s *Store) moveSigning(ctx context.Context, doing string, token storage.Digest, text string, args ...any) (r storage.SigningRequest, changed bool, err error) {
	err = s.call(ctx, doing, func(ctx context.Context, c conn) error {
		r, err = only(collect(decodeSigningRequest)(c.Query(ctx, text, append([]any{token[:]}, args...)...)))
		if changed = err == nil; !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		r, err = only(collect(decodeSigningRequest)(c.Query(ctx, storedSigningRequest, token[:])))
		return err
	})
	if err != nil {
		return storage.SigningRequest{}, false, err
	}
	return r, changed, nil
}
