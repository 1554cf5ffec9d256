package memory

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// PutService creates a service.
func (s *Store) PutService(ctx context.Context, v storage.Service) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a service"); err != nil {
		return err
	}
	if s.hasService(v.ID) {
		return storage.ErrExists
	}
	v.CreatedAt = storage.Micro(v.CreatedAt)
	s.services = append(s.services, ownSettings(v))
	return nil
}

func (s *Store) hasService(id string) bool {
	return slices.ContainsFunc(s.services, func(v storage.Service) bool { return v.ID == id })
}

// Service returns one service.
func (s *Store) Service(ctx context.Context, id string) (storage.Service, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "reading a service"); err != nil {
		return storage.Service{}, err
	}
	for _, v := range s.services {
		if v.ID == id {
			return ownSettings(v), nil
		}
	}
	return storage.Service{}, storage.ErrNotFound
}

// Services returns all services by creation.
func (s *Store) Services(ctx context.Context) ([]storage.Service, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing services"); err != nil {
		return nil, err
	}
	services := slices.Clone(s.services)
	for i := range services {
		services[i] = ownSettings(services[i])
	}
	return services, nil
}

// ownSettings gives a service settings that nobody else holds, nil when empty.
func ownSettings(v storage.Service) storage.Service {
	v.Settings = append([]byte(nil), v.Settings...)
	return v
}

// PutServiceSettings replaces the settings of a service.
func (s *Store) PutServiceSettings(ctx context.Context, id string, settings []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing settings"); err != nil {
		return err
	}
	for i, v := range s.services {
		if v.ID == id {
			v.Settings = settings
			s.services[i] = ownSettings(v)
			return nil
		}
	}
	return storage.ErrNotFound
}

// AddKey adds a key to a service.
func (s *Store) AddKey(ctx context.Context, k storage.APIKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a key"); err != nil {
		return err
	}
	if !s.hasService(k.ServiceID) {
		return storage.ErrNotFound
	}
	if s.keyOf(k.ServiceID, k.Name) != nil {
		return storage.ErrExists
	}
	k.Secret = bytes.Clone(k.Secret)
	k.CreatedAt = storage.Micro(k.CreatedAt)
	if !k.RevokedAt.IsZero() {
		k.RevokedAt = storage.Micro(k.RevokedAt)
	}
	s.keys[k.ServiceID] = append(s.keys[k.ServiceID], k)
	return nil
}

func (s *Store) keyOf(serviceID, name string) *storage.APIKey {
	keys := s.keys[serviceID]
	i := slices.IndexFunc(keys, func(k storage.APIKey) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &keys[i]
}

// Keys returns a service's keys by creation.
func (s *Store) Keys(ctx context.Context, serviceID string) ([]storage.APIKey, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing keys"); err != nil {
		return nil, err
	}
	keys := slices.Clone(s.keys[serviceID])
	for i := range keys {
		keys[i].Secret = bytes.Clone(keys[i].Secret)
	}
	return keys, nil
}

// RevokeKey revokes a key for good.
func (s *Store) RevokeKey(ctx context.Context, serviceID, name string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "revoking a key"); err != nil {
		return err
	}
	k := s.keyOf(serviceID, name)
	if k == nil {
		return storage.ErrNotFound
	}
	if k.RevokedAt.IsZero() {
		k.RevokedAt = storage.Micro(at)
	}
	return nil
}
