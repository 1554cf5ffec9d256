package memory

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// signing is what the store keeps for the signing API.
type signing struct {
	clients  []storage.SigningClient // by creation
	requests map[storage.Digest]*storage.SigningRequest
	jwts     map[storage.Digest]struct{} // the Replay of each request that has one
}

func newSigning() signing {
	return signing{
		requests: map[storage.Digest]*storage.SigningRequest{},
		jwts:     map[storage.Digest]struct{}{},
	}
}

func (g *signing) client(id string) int {
	return slices.IndexFunc(g.clients, func(c storage.SigningClient) bool { return c.ID == id })
}

// PutSigningClient creates a client of the signing API.
func (s *Store) PutSigningClient(ctx context.Context, c storage.SigningClient) error {
	c, err := c.Normalised()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a signing client"); err != nil {
		return err
	}
	if s.signing.client(c.ID) >= 0 {
		return storage.ErrExists
	}
	c.Keys = bytes.Clone(c.Keys)
	s.signing.clients = append(s.signing.clients, c)
	return nil
}

// SigningClient returns one client of the signing API.
func (s *Store) SigningClient(ctx context.Context, id string) (storage.SigningClient, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading a signing client"); err != nil {
		return storage.SigningClient{}, err
	}
	i := s.signing.client(id)
	if i < 0 {
		return storage.SigningClient{}, storage.ErrNotFound
	}
	c := s.signing.clients[i]
	c.Keys = bytes.Clone(c.Keys)
	return c, nil
}

// SigningClients returns all clients of the signing API by creation.
func (s *Store) SigningClients(ctx context.Context) ([]storage.SigningClient, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing signing clients"); err != nil {
		return nil, err
	}
	clients := slices.Clone(s.signing.clients)
	for i := range clients {
		clients[i].Keys = bytes.Clone(clients[i].Keys)
	}
	return clients, nil
}

// DeleteSigningClient ends a client of the signing API.
func (s *Store) DeleteSigningClient(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "removing a signing client"); err != nil {
		return err
	}
	i := s.signing.client(id)
	if i < 0 {
		return storage.ErrNotFound
	}
	s.signing.clients = slices.Delete(s.signing.clients, i, i+1)
	return nil
}

// CreateSigningRequest stores a signature request.
func (s *Store) CreateSigningRequest(ctx context.Context, r storage.SigningRequest) error {
	r, err := r.Normalised()
	if err != nil {
		return err
	}
	r = detached(&r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a signature request"); err != nil {
		return err
	}
	if _, taken := s.signing.requests[r.Token]; taken {
		return storage.ErrExists
	}
	if r.Replay != nil {
		if _, taken := s.signing.jwts[*r.Replay]; taken {
			return storage.ErrExists
		}
		s.signing.jwts[*r.Replay] = struct{}{}
	}
	s.signing.requests[r.Token] = &r
	return nil
}

// detached returns a copy of a request that shares no memory with it.
func detached(r *storage.SigningRequest) storage.SigningRequest {
	c := *r
	c.JWT, c.Response = bytes.Clone(r.JWT), bytes.Clone(r.Response)
	c.Replay, c.Binding = cloned(r.Replay), cloned(r.Binding)
	return c
}

func cloned(d *storage.Digest) *storage.Digest {
	if d == nil {
		return nil
	}
	return new(*d)
}

// SigningRequest returns a signature request in any state.
func (s *Store) SigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading a signature request"); err != nil {
		return storage.SigningRequest{}, err
	}
	r := s.signing.requests[token]
	if r == nil {
		return storage.SigningRequest{}, storage.ErrNotFound
	}
	return detached(r), nil
}

// DownloadSigningRequest moves a requested signature request on.
func (s *Store) DownloadSigningRequest(ctx context.Context, token storage.Digest, binding *storage.Digest) (storage.SigningRequest, bool, error) {
	return s.moveSigning(ctx, "downloading a signature request", token, storage.SigningRequested, func(r *storage.SigningRequest) {
		r.Status, r.Binding = storage.SigningDownloaded, cloned(binding)
	})
}

// SignSigningRequest gives a downloaded signature request its result.
func (s *Store) SignSigningRequest(ctx context.Context, token storage.Digest, response []byte, expires time.Time) (storage.SigningRequest, bool, error) {
	if err := transition.CheckSigned(response, expires); err != nil {
		return storage.SigningRequest{}, false, err
	}
	return s.moveSigning(ctx, "storing a signature", token, storage.SigningDownloaded, func(r *storage.SigningRequest) {
		r.Status, r.JWT, r.Response = storage.SigningSigned, nil, bytes.Clone(response)
		r.ExpiresAt = storage.Micro(expires)
	})
}

// RetrieveSigningRequest takes a signature request's result out.
func (s *Store) RetrieveSigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, bool, error) {
	var response []byte
	r, changed, err := s.moveSigning(ctx, "retrieving a signature", token, storage.SigningSigned, func(r *storage.SigningRequest) {
		response = r.Response
		r.Status, r.Response = storage.SigningRetrieved, nil
	})
	r.Response = response
	return r, changed, err
}

// moveSigning runs move on a signature request if it is in the state from, and
// returns it as it then is.
func (s *Store) moveSigning(ctx context.Context, doing string, token storage.Digest, from storage.SigningStatus, move func(*storage.SigningRequest)) (storage.SigningRequest, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, doing); err != nil {
		return storage.SigningRequest{}, false, err
	}
	r := s.signing.requests[token]
	if r == nil {
		return storage.SigningRequest{}, false, storage.ErrNotFound
	}
	changed := r.Status == from
	if changed {
		move(r)
	}
	return detached(r), changed, nil
}

func (g *signing) sweep(q storage.SweepRequest) (n int64) {
	for token, r := range g.requests {
		if n >= int64(q.Limit) {
			break
		}
		if !latest(r.ExpiresAt, r.Deadline).Before(q.Now) {
			continue
		}
		delete(g.requests, token)
		if r.Replay != nil {
			delete(g.jwts, *r.Replay)
		}
		n++
	}
	return n
}
