package notifyauth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// ErrUnknownService is what [Services] return for an issuer that they don't
// know. Any other error is a technical one: the caller answers 503.
var ErrUnknownService = errors.New("notifyauth: unknown service")

// Service is a tenant: whoever signs with one of its keys acts as it. It must
// not change after it has been handed to a Verifier.
type Service struct {
	ID       string // the iss claim; UUID text in lower case for the V2 dialect
	Name     string
	Archived bool // no key of it is accepted
	Keys     []*Key
}

// Services finds the service that a token names. Implementations are called
// for every request with text that nobody has verified yet, at most 128 bytes
// long: they should answer from memory, and take the same time for a service
// that exists as for one that doesn't.
type Services interface {
	Service(ctx context.Context, iss string) (*Service, error)
}

// ServicesFunc makes a function a [Services].
type ServicesFunc func(ctx context.Context, iss string) (*Service, error)

// Service calls the function.
func (f ServicesFunc) Service(ctx context.Context, iss string) (*Service, error) {
	return f(ctx, iss)
}

type staticServices map[string]*Service

// StaticServices serves a fixed list. Of two services with one id the last one
// counts.
func StaticServices(services ...*Service) Services {
	s := make(staticServices, len(services))
	for _, service := range services {
		s[service.ID] = service
	}
	return s
}

func (s staticServices) Service(_ context.Context, iss string) (*Service, error) {
	if service, ok := s[iss]; ok {
		return service, nil
	}
	return nil, ErrUnknownService
}

// uuidText is the length of a UUID as text.
const uuidText = 36

// ParseKeyString takes an API key of today's Notify apart, which is
// "name-serviceuuid-secretuuid": as the public clients do, it counts from the
// end, so that the name may hold hyphens, or be missing together with its
// hyphen. The UUIDs are returned as they stand.
func ParseKeyString(text string) (name, service, secret string, err error) {
	const both = 2*uuidText + 1
	text = strings.TrimSpace(text)
	if len(text) < both || text[len(text)-uuidText-1] != '-' {
		return "", "", "", errors.New("notifyauth: an API key has the form name-serviceid-secret, where the last two are UUIDs")
	}
	secret = text[len(text)-uuidText:]
	service = text[len(text)-both : len(text)-uuidText-1]
	name = strings.TrimSuffix(text[:len(text)-both], "-")
	if uuid.Validate(service) != nil {
		return "", "", "", errors.New("notifyauth: the API key's service id is not a UUID; expected name-serviceid-secret")
	}
	if uuid.Validate(secret) != nil {
		// Never quoted: it may be a secret with a typing error.
		return "", "", "", fmt.Errorf("notifyauth: the API key's last %d characters are not a UUID; expected name-serviceid-secret", uuidText)
	}
	return name, service, secret, nil
}
