package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	ck "github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// pair is a certificate and its key on a fake token.
type pair struct {
	id      []byte
	der     []byte
	key     *rsa.PrivateKey // nil: the certificate is alone
	public  bool            // a public key object is beside it
	open    bool            // the private key shows without login
	always  bool            // CKA_ALWAYS_AUTHENTICATE
	modless bool            // CKA_MODULUS doesn't show
}

// fakeToken is a card.
type fakeToken struct {
	label, serial string
	pin           string
	keyPIN        string // of keys that want one for each signature; pin when empty
	tries         int    // wrong PINs that it still takes
	flags         uint
	mechanisms    []uint
	pairs         []pair

	loggedIn bool
}

func (t *fakeToken) info() cryptoki.Token {
	flags := t.flags | ck.CKF_TOKEN_INITIALIZED
	switch t.tries {
	case 0:
		flags |= ck.CKF_USER_PIN_LOCKED
	case 1:
		flags |= ck.CKF_USER_PIN_FINAL_TRY | ck.CKF_USER_PIN_COUNT_LOW
	case 2:
		flags |= ck.CKF_USER_PIN_COUNT_LOW
	}
	return cryptoki.Token{Label: t.label, Serial: t.serial, Flags: flags}
}

// present checks a PIN as cards do.
func (t *fakeToken) present(pin string) error {
	switch {
	case t.tries == 0:
		return answer("C_Login", ck.CKR_PIN_LOCKED)
	case pin == t.pin:
		t.tries = 3
		return nil
	}
	t.tries--
	return answer("C_Login", ck.CKR_PIN_INCORRECT)
}

type fakeSession struct {
	token     *fakeToken
	signing   *pair // after SignInit
	mechanism uint
	confirmed bool // the context-specific login was made
}

// fake is a module in Go, for what SoftHSM has none of: cards that come and go,
// that count wrong PINs, and that fail.
type fake struct {
	cryptoki.API // nil: what isn't written below isn't called

	mu       sync.Mutex
	slots    []*fakeToken // nil: empty
	sessions map[cryptoki.Session]*fakeSession
	next     cryptoki.Session
	calls    map[string]int
	pins     []string // that were presented
	// on, when not nil, runs before each function, and its error is the answer.
	// It runs unlocked, so that it may block.
	on func(function string) error
}

func newFake(tokens ...*fakeToken) *fake {
	return &fake{slots: tokens, sessions: map[cryptoki.Session]*fakeSession{}, calls: map[string]int{}}
}

func answer(function string, code uint) error { return cryptoki.Error{Function: function, Code: code} }

// enter counts a call and locks the fake when it returns no error.
func (f *fake) enter(function string) error {
	f.mu.Lock()
	f.calls[function]++
	on := f.on
	f.mu.Unlock()
	if on != nil {
		if err := on(function); err != nil {
			return err
		}
	}
	f.mu.Lock()
	return nil
}

// remove takes the card out of a slot. Its sessions are dead.
func (f *fake) remove(slot int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for h, s := range f.sessions {
		if s.token == f.slots[slot] {
			delete(f.sessions, h)
		}
	}
	if f.slots[slot] != nil {
		f.slots[slot].loggedIn = false
	}
	f.slots[slot] = nil
}

func (f *fake) insert(slot int, t *fakeToken) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots[slot] = t
}

func (f *fake) count(function string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[function]
}

func (f *fake) GetSlotList(bool) ([]cryptoki.Slot, error) {
	if err := f.enter("C_GetSlotList"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	var slots []cryptoki.Slot
	for i, t := range f.slots {
		if t != nil {
			slots = append(slots, cryptoki.Slot(i))
		}
	}
	return slots, nil
}

func (f *fake) GetTokenInfo(slot cryptoki.Slot) (cryptoki.Token, error) {
	if err := f.enter("C_GetTokenInfo"); err != nil {
		return cryptoki.Token{}, err
	}
	defer f.mu.Unlock()
	if f.slots[slot] == nil {
		return cryptoki.Token{}, answer("C_GetTokenInfo", ck.CKR_TOKEN_NOT_PRESENT)
	}
	return f.slots[slot].info(), nil
}

func (f *fake) GetMechanismList(slot cryptoki.Slot) ([]uint, error) {
	if err := f.enter("C_GetMechanismList"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	if f.slots[slot] == nil {
		return nil, answer("C_GetMechanismList", ck.CKR_TOKEN_NOT_PRESENT)
	}
	return f.slots[slot].mechanisms, nil
}

func (f *fake) OpenSession(slot cryptoki.Slot, flags uint) (cryptoki.Session, error) {
	if err := f.enter("C_OpenSession"); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	switch {
	case f.slots[slot] == nil:
		return 0, answer("C_OpenSession", ck.CKR_TOKEN_NOT_PRESENT)
	case flags&ck.CKF_SERIAL_SESSION == 0:
		return 0, answer("C_OpenSession", ck.CKR_SESSION_PARALLEL_NOT_SUPPORTED)
	}
	f.next++
	f.sessions[f.next] = &fakeSession{token: f.slots[slot]}
	return f.next, nil
}

// session returns a session of the fake, which is locked then.
func (f *fake) session(function string, handle cryptoki.Session) (*fakeSession, error) {
	if err := f.enter(function); err != nil {
		return nil, err
	}
	s := f.sessions[handle]
	if s == nil {
		f.mu.Unlock()
		return nil, answer(function, ck.CKR_SESSION_HANDLE_INVALID)
	}
	return s, nil
}

func (f *fake) CloseSession(handle cryptoki.Session) error {
	s, err := f.session("C_CloseSession", handle)
	if err != nil {
		return err
	}
	defer f.mu.Unlock()
	delete(f.sessions, handle)
	for _, other := range f.sessions {
		if other.token == s.token {
			return nil
		}
	}
	s.token.loggedIn = false
	return nil
}

func (f *fake) Login(handle cryptoki.Session, userType uint, pin string) error {
	s, err := f.session("C_Login", handle)
	if err != nil {
		return err
	}
	defer f.mu.Unlock()
	if userType == ck.CKU_CONTEXT_SPECIFIC {
		if s.signing == nil {
			return answer("C_Login", ck.CKR_OPERATION_NOT_INITIALIZED)
		}
		var err error
		if want := s.token.keyPIN; want != "" && pin != want {
			err = answer("C_Login", ck.CKR_PIN_INCORRECT)
		} else if want == "" {
			err = s.token.present(pin)
		}
		s.confirmed = err == nil
		f.pins = append(f.pins, pin)
		return err
	}
	if s.token.loggedIn {
		return answer("C_Login", ck.CKR_USER_ALREADY_LOGGED_IN)
	}
	f.pins = append(f.pins, pin)
	err = s.token.present(pin)
	s.token.loggedIn = err == nil
	return err
}

func (f *fake) Logout(handle cryptoki.Session) error {
	s, err := f.session("C_Logout", handle)
	if err != nil {
		return err
	}
	defer f.mu.Unlock()
	s.token.loggedIn = false
	return nil
}

// Objects are numbered by their place: class*1000 + pair.
func (f *fake) FindObjects(handle cryptoki.Session, template []cryptoki.Attribute, limit int) ([]cryptoki.Object, error) {
	s, err := f.session("C_FindObjects", handle)
	if err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	var found []cryptoki.Object
	for i, p := range s.token.pairs {
		for _, class := range []uint{ck.CKO_CERTIFICATE, ck.CKO_PUBLIC_KEY, ck.CKO_PRIVATE_KEY} {
			visible := map[uint]bool{
				ck.CKO_CERTIFICATE: p.der != nil,
				ck.CKO_PUBLIC_KEY:  p.public,
				ck.CKO_PRIVATE_KEY: p.key != nil && (p.open || s.token.loggedIn),
			}[class]
			wanted := cryptoki.Number(ck.CKA_CLASS, class)
			if visible && bytes.Equal(template[0].Value, wanted.Value) {
				found = append(found, cryptoki.Object(class*1000)+cryptoki.Object(i))
			}
		}
	}
	return found[:min(limit, len(found))], nil
}

func (f *fake) GetAttribute(handle cryptoki.Session, object cryptoki.Object, attribute uint) ([]byte, error) {
	s, err := f.session("C_GetAttributeValue", handle)
	if err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	p := s.token.pairs[object%1000]
	switch attribute {
	case ck.CKA_ID:
		return p.id, nil
	case ck.CKA_VALUE:
		return p.der, nil
	case ck.CKA_ALWAYS_AUTHENTICATE:
		if p.always {
			return []byte{1}, nil
		}
	case ck.CKA_MODULUS:
		if p.key != nil && !p.modless {
			return append([]byte{0}, p.key.N.Bytes()...), nil
		}
	}
	return nil, answer("C_GetAttributeValue", ck.CKR_ATTRIBUTE_TYPE_INVALID)
}

func (f *fake) SignInit(handle cryptoki.Session, mechanism uint, key cryptoki.Object) error {
	s, err := f.session("C_SignInit", handle)
	if err != nil {
		return err
	}
	defer f.mu.Unlock()
	s.signing, s.mechanism, s.confirmed = &s.token.pairs[key%1000], mechanism, false
	return nil
}

func (f *fake) Sign(handle cryptoki.Session, data []byte) ([]byte, error) {
	s, err := f.session("C_Sign", handle)
	if err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	p := s.signing
	s.signing = nil
	switch {
	case p == nil:
		return nil, answer("C_Sign", ck.CKR_OPERATION_NOT_INITIALIZED)
	case p.always && !s.confirmed, !p.open && !s.token.loggedIn:
		return nil, answer("C_Sign", ck.CKR_USER_NOT_LOGGED_IN)
	}
	hash := map[uint]crypto.Hash{ck.CKM_SHA256_RSA_PKCS: crypto.SHA256, ck.CKM_SHA1_RSA_PKCS: crypto.SHA1, ck.CKM_RSA_PKCS: 0}[s.mechanism]
	if hash != 0 {
		h := hash.New()
		_, _ = h.Write(data)
		data = h.Sum(nil)
	}
	return rsa.SignPKCS1v15(rand.Reader, p.key, hash, data)
}

// testKey makes keys once for all tests.
var testKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	keys := make([]*rsa.PrivateKey, 3)
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

// certify makes a certificate for a key, by itself or by an issuer.
func certify(t testing.TB, name string, public *rsa.PublicKey, issuer *x509.Certificate, key *rsa.PrivateKey, change ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour),
		KeyUsage: x509.KeyUsageContentCommitment, BasicConstraintsValid: true,
	}
	for _, c := range change {
		c(template)
	}
	if issuer == nil {
		issuer = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, key)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

// newCard makes a card as prescribers have: a key that shows to who is logged
// in, and its certificate.
func newCard(t testing.TB) *fakeToken {
	t.Helper()
	key := testKeys()[0]
	return &fakeToken{
		label: "card", serial: "0001", pin: "1234", tries: 3,
		flags:      ck.CKF_LOGIN_REQUIRED | ck.CKF_USER_PIN_INITIALIZED,
		mechanisms: []uint{ck.CKM_RSA_PKCS, ck.CKM_SHA1_RSA_PKCS, ck.CKM_SHA256_RSA_PKCS},
		pairs:      []pair{{id: []byte{1}, der: certify(t, "555086689106_Test", &key.PublicKey, nil, key).Raw, key: key, public: true}},
	}
}

// logs keeps what was logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// use makes a Signer over a fake, closed with the test.
func (f *fake) use(t testing.TB, config Config) *Signer {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	config.Now = func() time.Time { return testNow }
	module, err := cryptoki.Use(f, config.Logger)
	require.NoError(t, err)
	s := newSigner(config.withDefaults(), module)
	t.Cleanup(func() { _ = s.Close() })
	return s
}
