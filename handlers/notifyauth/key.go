package notifyauth

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"sync"
	"time"
)

const (
	redacted = "REDACTED"
	macSize  = sha256.Size
	// FIPS 140-3 approves HMAC keys from 112 bits; crypto/hmac panics below
	// them in that mode.
	minFIPSSecret = 14
)

// Types of key, as GOV.UK Notify names them.
const (
	KeyNormal = "normal"
	KeyTeam   = "team"
	KeyTest   = "test"
)

// Key is one secret of a service. It keeps the keyed state of HMAC-SHA256, so
// make it once and share it: it is safe for concurrent use. It never shows its
// secret: every text, log and JSON form is "REDACTED".
type Key struct {
	name      string
	keyType   string
	revoked   bool
	revokedAt time.Time // zero when it isn't known
	secret    []byte
	macs      sync.Pool // *macState
}

// KeyOption changes a new key.
type KeyOption func(*Key)

// WithType sets the key's type: [KeyNormal] (the default), [KeyTeam] or
// [KeyTest]. It only travels in the [Identity].
func WithType(keyType string) KeyOption {
	return func(k *Key) {
		if keyType != "" {
			k.keyType = keyType
		}
	}
}

// WithRevoked marks the key as revoked: it never lets a request pass, and the
// V2 dialect says so to whoever still holds it.
func WithRevoked(revoked bool) KeyOption {
	return func(k *Key) { k.revoked = revoked }
}

// WithRevokedAt marks the key as revoked at that time; a zero time leaves it as
// it is. The V2 dialect says so to whoever still holds it for a week, and then
// knows the key no more (wire reference, 1.5).
func WithRevokedAt(at time.Time) KeyOption {
	return func(k *Key) {
		if !at.IsZero() {
			k.revoked, k.revokedAt = true, at
		}
	}
}

// revokedFor is how long the V2 dialect remembers a revoked key.
const revokedFor = 7 * 24 * time.Hour

// forgotten reports whether the key was revoked so long ago that it is as if it
// had never been.
func (k *Key) forgotten(now func() time.Time) bool {
	return !k.revokedAt.IsZero() && now().Sub(k.revokedAt) > revokedFor
}

// NewKey makes a key. The HMAC key is the secret's text itself, never decoded.
// An empty secret is an error; a minimum length is the configuration's affair.
func NewKey(name, secret string, options ...KeyOption) (*Key, error) {
	if secret == "" {
		return nil, fmt.Errorf("notifyauth: key %q has an empty secret", name)
	}
	if fips140.Enforced() && len(secret) < minFIPSSecret {
		return nil, fmt.Errorf("notifyauth: key %q: FIPS 140-only mode needs a secret of at least %d bytes", name, minFIPSSecret)
	}
	k := newKey(name, []byte(secret))
	for _, option := range options {
		option(k)
	}
	switch k.keyType {
	case KeyNormal, KeyTeam, KeyTest:
	default:
		return nil, fmt.Errorf("notifyauth: key %q: unknown type %q: use normal, team or test", name, k.keyType)
	}
	return k, nil
}

func newKey(name string, secret []byte) *Key {
	k := &Key{name: name, keyType: KeyNormal, secret: secret}
	k.macs.New = func() any { return &macState{mac: hmac.New(sha256.New, k.secret)} }
	return k
}

// Name returns the key's name.
func (k *Key) Name() string { return k.name }

// Type returns [KeyNormal], [KeyTeam] or [KeyTest].
func (k *Key) Type() string { return k.keyType }

// Revoked reports whether the key is revoked.
func (k *Key) Revoked() bool { return k.revoked }

// SameSecret reports whether both keys have one secret, so that a
// configuration can refuse it. It takes the same time for every secret of one
// length.
func (k *Key) SameSecret(other *Key) bool { return hmac.Equal(k.secret, other.secret) }

// String returns "REDACTED".
func (*Key) String() string { return redacted }

// GoString returns "REDACTED".
func (*Key) GoString() string { return redacted }

// LogValue returns "REDACTED".
func (*Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "REDACTED", which is the JSON form too.
func (*Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText always fails: keys are made by NewKey.
func (*Key) UnmarshalText([]byte) error {
	return errors.New("notifyauth: a key can't be read back from text")
}

// macState is a keyed HMAC. After its first Reset it restarts from the stored
// state of the key's two blocks, which saves half of a short MAC.
type macState struct {
	mac hash.Hash
	sum [macSize]byte
}

// sum computes the MAC of data into sum.
func (k *Key) sum(sum *[macSize]byte, data []byte) {
	s := k.begin()
	s.write(data)
	k.end(s, sum)
}

// begin starts a MAC that is written piece by piece.
func (k *Key) begin() *macState {
	s := k.macs.Get().(*macState) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	s.mac.Reset()
	return s
}

func (s *macState) write(data []byte) {
	_, _ = s.mac.Write(data) // a hash.Hash never fails
}

// end finishes the MAC and takes its state back.
func (k *Key) end(s *macState, sum *[macSize]byte) {
	// The state's own array is the destination: one on the caller's stack
	// would escape through the interface.
	s.mac.Sum(s.sum[:0])
	*sum = s.sum
	k.macs.Put(s)
}

// decoy stands in for the keys of an unknown service, so that a refusal costs
// the same whether the service exists or not.
var decoy = func() *Key {
	secret := make([]byte, macSize)
	_, _ = rand.Read(secret) // never fails, see crypto/rand
	return newKey("", secret)
}()
