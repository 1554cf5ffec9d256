package pkcs11

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	ck "github.com/miekg/pkcs11"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

// login is how to log in to a token.
type login struct {
	needed     bool
	pinPad     bool // the reader asks for the PIN
	configured bool
	pin        string
}

func (l login) timeout(call time.Duration) time.Duration {
	if l.pinPad {
		return max(call, pinPadTimeout)
	}
	return call
}

// refusedError says that the token refused the PIN of a login.
type refusedError struct{ err error }

// Error implements error.
func (e *refusedError) Error() string { return e.err.Error() }

// Unwrap returns what the token said.
func (e *refusedError) Unwrap() error { return e.err }

// login presents the PIN. after receives the state of the token that refused it.
func (s *session) login(l login, after *cryptoki.Token) error {
	if !l.needed {
		return nil
	}
	s.presented = true
	err := s.api.Login(s.handle, ck.CKU_USER, l.pin)
	if cryptoki.CodeOf(err) == ck.CKR_USER_ALREADY_LOGGED_IN {
		// By another session of this process. That PIN isn't this batch's.
		if err = s.api.Logout(s.handle); err == nil {
			err = s.api.Login(s.handle, ck.CKU_USER, l.pin)
		}
	}
	return s.afterLogin(err, after)
}

// afterLogin makes a refusedError of a refused PIN: of the login to the token,
// or of the one that a key wants before each signature.
func (s *session) afterLogin(err error, after *cryptoki.Token) error {
	if !isWrongPIN(err) {
		return err
	}
	*after = s.token
	if token, e := s.api.GetTokenInfo(s.slot); e == nil {
		*after = token
	}
	return &refusedError{err}
}

// triesConfigured tells whether the PIN of the configuration is good for a
// token, as far as is known.
func (s *Signer) triesConfigured(token cryptoki.Token) bool {
	return s.config.PIN != "" && token.Flags&ck.CKF_USER_PIN_FINAL_TRY == 0 && !refusals.has(s.placeOf(token), s.config.PIN)
}

func (s *Signer) placeOf(token cryptoki.Token) refusalPlace {
	return refusalPlace{s.module.Path(), token.Serial, token.Label}
}

// question is what the user will be asked before a batch, or nil.
func (s *Signer) question(token cryptoki.Token) *hub.PINRequest {
	const unasked = ck.CKF_USER_PIN_LOCKED | ck.CKF_PROTECTED_AUTHENTICATION_PATH
	if token.Flags&ck.CKF_LOGIN_REQUIRED == 0 || token.Flags&unasked != 0 || s.triesConfigured(token) {
		return nil
	}
	return &hub.PINRequest{Token: token.Label, Retries: retries(token.Flags)}
}

// pins finds the PIN of one batch.
type pins struct {
	signer *Signer
	token  cryptoki.Token
	ask    func(context.Context, hub.PINRequest) (string, error)
	tried  []string // that the token refused
}

func (s *Signer) pinsFor(token cryptoki.Token, ask func(context.Context, hub.PINRequest) (string, error)) *pins {
	return &pins{signer: s, token: token, ask: ask}
}

// next returns the next login to try.
func (p *pins) next(ctx context.Context) (login, error) {
	flags := p.token.Flags
	switch {
	case flags&ck.CKF_LOGIN_REQUIRED == 0:
		return login{}, nil
	case flags&ck.CKF_USER_PIN_LOCKED != 0:
		return login{}, blocked(errors.New("pkcs11: the token says that its PIN is locked"))
	case flags&ck.CKF_PROTECTED_AUTHENTICATION_PATH != 0:
		return login{needed: true, pinPad: true}, nil
	case p.signer.triesConfigured(p.token):
		return login{needed: true, configured: true, pin: p.signer.config.PIN}, nil
	case p.ask == nil:
		return login{}, p.nobody()
	}
	wrong := len(p.tried) > 0
	pin, err := p.ask(ctx, hub.PINRequest{Token: p.token.Label, Retries: retries(flags), Wrong: wrong})
	switch {
	case err != nil:
		return login{}, err
	case pin == "":
		return login{}, p.wrong("No PIN was given.", errors.New("pkcs11: the PIN is empty"))
	case slices.Contains(p.tried, pin):
		// Whoever answers for the user has nothing else to say. The token is
		// spared: three times the same may block it.
		return login{}, p.wrong("", errors.New("pkcs11: the PIN is one that the token has just refused"))
	}
	return login{needed: true, pin: pin}, nil
}

// nobody is what is wrong when there is no PIN and nobody to ask.
func (p *pins) nobody() error {
	switch {
	case p.signer.config.PIN == "":
		return failed(hub.CodeInternal, "The smartcard needs a PIN, and the hub has no way to ask for it.",
			errors.New("pkcs11: the token needs a PIN: configure one, or a way to ask the user"))
	case p.token.Flags&ck.CKF_USER_PIN_FINAL_TRY != 0:
		return p.wrong("One more wrong PIN would block the smartcard, so the hub doesn't use the one of its configuration.",
			errors.New("pkcs11: the token has one try left: give it the right PIN with the card's own software first"))
	default:
		return p.wrong("The smartcard refused the PIN of the hub's configuration. Correct it and restart the hub.",
			errors.New("pkcs11: the token refused the configured PIN; it isn't tried again"))
	}
}

// refused takes notice that the token refused a login. The error ends the
// batch.
func (p *pins) refused(l login, after cryptoki.Token, cause *refusedError) error {
	p.token = after
	if l.configured {
		refusals.add(p.signer.placeOf(p.token), l.pin)
		p.signer.config.Logger.Warn("the token refused the configured PIN, which isn't tried again until the hub is restarted: correct it",
			slog.String("module", p.signer.module.Path()), slog.String("token", after.Label))
	}
	if after.Flags&ck.CKF_USER_PIN_LOCKED != 0 {
		return blocked(cause)
	}
	if l.pinPad {
		// A new try is the user's own decision: the reader asked, not the hub.
		return p.wrong("", cause)
	}
	p.tried = append(p.tried, l.pin)
	return nil
}

func (p *pins) wrong(message string, cause error) error {
	return &hub.Error{Code: hub.CodePINIncorrect, Message: message, RetriesLeft: retries(p.token.Flags), Err: cause}
}

func blocked(cause error) error {
	return &hub.Error{Code: hub.CodePINBlocked, RetriesLeft: 0, Err: cause}
}

// retries is how many wrong PINs the token still takes, as far as its flags
// tell: of CKF_USER_PIN_COUNT_LOW only that there was a wrong one.
func retries(flags uint) int {
	switch {
	case flags&ck.CKF_USER_PIN_LOCKED != 0:
		return 0
	case flags&ck.CKF_USER_PIN_FINAL_TRY != 0:
		return 1
	default:
		return -1
	}
}

// refusalPlace is a token of a module.
type refusalPlace struct{ module, serial, label string }

// refusals are the configured PINs that tokens refused in this process, by
// their MACs: a configuration that is loaded again must not use up a card's
// tries.
var refusals = &refusalSet{macs: map[refusalPlace][][sha256.Size]byte{}}

type refusalSet struct {
	mu   sync.Mutex
	key  []byte
	macs map[refusalPlace][][sha256.Size]byte
}

func (r *refusalSet) mac(pin string) (sum [sha256.Size]byte) {
	if r.key == nil {
		r.key = make([]byte, sha256.Size)
		_, _ = rand.Read(r.key) // never fails (Go 1.24)
	}
	h := hmac.New(sha256.New, r.key)
	_, _ = h.Write([]byte(pin))
	h.Sum(sum[:0])
	return sum
}

func (r *refusalSet) add(place refusalPlace, pin string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.macs[place], r.mac(pin)) {
		r.macs[place] = append(r.macs[place], r.mac(pin))
	}
}

func (r *refusalSet) has(place refusalPlace, pin string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.macs[place], r.mac(pin))
}
