package pkcs11

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	ck "github.com/miekg/pkcs11"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

// pinFunc answers with PINs in turn and remembers what it was asked.
type pinFunc struct {
	pins  []string
	asked []hub.PINRequest
}

var errNoMorePINs = &hub.Error{Code: hub.CodeUserCancelled, RetriesLeft: -1}

func (p *pinFunc) ask(_ context.Context, r hub.PINRequest) (string, error) {
	p.asked = append(p.asked, r)
	if len(p.asked) > len(p.pins) {
		return "", errNoMorePINs
	}
	return p.pins[len(p.asked)-1], nil
}

func pinsOf(pins ...string) *pinFunc { return &pinFunc{pins: pins} }

func documents(n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = fmt.Appendf(nil, "<SignedInfo>%d</SignedInfo>", i)
	}
	return list
}

// request asks for documents to be signed with the signer's first certificate.
func request(t testing.TB, s *Signer, n int, pins *pinFunc) hub.SignRequest {
	t.Helper()
	certificates, err := s.Certificates(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, certificates)
	return hub.SignRequest{CertificateID: certificates[0].ID, Algorithm: hub.RS256, Documents: documents(n), PIN: pins.ask}
}

// tester is what a testing.TB and a rapid.T have in common.
type tester interface {
	require.TestingT
	Helper()
}

func requireVerified(t tester, key *rsa.PublicKey, algorithm string, documents, signatures [][]byte) {
	t.Helper()
	require.Len(t, signatures, len(documents))
	hash := map[string]crypto.Hash{hub.RS256: crypto.SHA256, hub.RS1: crypto.SHA1}[algorithm]
	for i, d := range documents {
		h := hash.New()
		_, _ = h.Write(d)
		require.NoError(t, rsa.VerifyPKCS1v15(key, hash, h.Sum(nil), signatures[i]), "document %d", i)
	}
}

func requireCode(t tester, code hub.Code, err error) *hub.Error {
	t.Helper()
	var e *hub.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, "%v: %v", e, e.Err)
	return e
}

func TestSign(t *testing.T) {
	tests := []struct {
		name      string
		algorithm string
		card      func(*fakeToken)
		logins    int
	}{
		{"RS256", hub.RS256, func(*fakeToken) {}, 1},
		{"RS1", hub.RS1, func(*fakeToken) {}, 1},
		{"RS256 on a token that only does the mathematics", hub.RS256, func(c *fakeToken) { c.mechanisms = []uint{ck.CKM_RSA_PKCS} }, 1},
		{"RS1 on a token that only does the mathematics", hub.RS1, func(c *fakeToken) { c.mechanisms = []uint{ck.CKM_RSA_PKCS} }, 1},
		{"the PIN before each signature", hub.RS256, func(c *fakeToken) { c.pairs[0].always = true }, 4},
		{"no PIN", hub.RS256, func(c *fakeToken) { c.flags, c.pairs[0].open = 0, true }, 0},
		{"a key that doesn't show its modulus", hub.RS1, func(c *fakeToken) { c.pairs[0].modless = true }, 1},
		{"a key with another id", hub.RS1, func(c *fakeToken) {
			c.pairs = append(c.pairs, pair{id: []byte{7}, key: c.pairs[0].key})
			c.pairs[0].key = nil
		}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			card := newCard(t)
			key := card.pairs[0].key
			test.card(card)
			f := newFake(card)
			s := f.use(t, Config{})
			r := request(t, s, 3, pinsOf("1234"))
			r.Algorithm = test.algorithm
			var progress []int
			r.Progress = func(done int) { progress = append(progress, done) }
			signatures, err := s.Sign(t.Context(), r)
			require.NoError(t, err)
			requireVerified(t, &key.PublicKey, test.algorithm, r.Documents, signatures)
			assert.Equal(t, []int{1, 2, 3}, progress)
			assert.Len(t, f.pins, test.logins)
			assert.False(t, card.loggedIn, "nobody stays logged in")
			assert.Empty(t, f.sessions)
		})
	}
}

func TestSignRefuses(t *testing.T) {
	tests := []struct {
		name   string
		card   func(*fakeToken)
		change func(*hub.SignRequest)
		code   hub.Code
	}{
		{"an algorithm that isn't one", nil, func(r *hub.SignRequest) { r.Algorithm = "PS256" }, hub.CodeUnsupportedAlgorithm},
		{
			"an algorithm that the card doesn't have", func(c *fakeToken) { c.mechanisms = []uint{ck.CKM_SHA1_RSA_PKCS} },
			nil, hub.CodeUnsupportedAlgorithm,
		},
		{"another certificate", nil, func(r *hub.SignRequest) { r.CertificateID = "00" }, hub.CodeNoCertificate},
		{"no private key", func(c *fakeToken) { c.pairs[0].key = nil }, nil, hub.CodeNoCertificate},
		{"another private key of the same id", func(c *fakeToken) { c.pairs[0].key = testKeys()[1] }, nil, hub.CodeNoCertificate},
		{
			"another private key that hides its modulus",
			func(c *fakeToken) { c.pairs[0].key, c.pairs[0].modless = testKeys()[1], true }, nil, hub.CodeInternal,
		},
		{"a card that wants a PIN from nobody", nil, func(r *hub.SignRequest) { r.PIN = nil }, hub.CodeInternal},
		{"an empty PIN", nil, func(r *hub.SignRequest) { r.PIN = pinsOf("").ask }, hub.CodePINIncorrect},
		{"a blocked card", func(c *fakeToken) { c.tries = 0 }, nil, hub.CodePINBlocked},
		{"a user who gives no PIN", nil, func(r *hub.SignRequest) { r.PIN = pinsOf().ask }, hub.CodeUserCancelled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			card := newCard(t)
			f := newFake(card)
			s := f.use(t, Config{})
			r := request(t, s, 1, pinsOf("1234"))
			if test.card != nil {
				test.card(card)
			}
			if test.change != nil {
				test.change(&r)
			}
			signatures, err := s.Sign(t.Context(), r)
			requireCode(t, test.code, err)
			assert.Empty(t, signatures)
			assert.False(t, card.loggedIn)
			assert.Empty(t, f.sessions)
		})
	}
}

func TestSignNothing(t *testing.T) {
	f := newFake(newCard(t))
	s := f.use(t, Config{})
	r := request(t, s, 0, pinsOf())
	signatures, err := s.Sign(t.Context(), r)
	require.NoError(t, err)
	assert.Empty(t, signatures)
	assert.Empty(t, f.pins)
}

// What modules answer, each at the function where it comes up.
func TestFaults(t *testing.T) {
	tests := []struct {
		function string
		answer   uint
		code     hub.Code
	}{
		{"C_GetSlotList", ck.CKR_GENERAL_ERROR, hub.CodeInternal},
		{"C_GetSlotList", ck.CKR_CRYPTOKI_NOT_INITIALIZED, hub.CodeInternal},
		{"C_GetTokenInfo", ck.CKR_TOKEN_NOT_PRESENT, hub.CodeNoCard},
		{"C_GetTokenInfo", ck.CKR_TOKEN_NOT_RECOGNIZED, hub.CodeNoCard},
		{"C_GetTokenInfo", ck.CKR_DEVICE_REMOVED, hub.CodeNoCard},
		{"C_GetTokenInfo", ck.CKR_DEVICE_ERROR, hub.CodeInternal},
		{"C_OpenSession", ck.CKR_TOKEN_NOT_PRESENT, hub.CodeNoCard},
		{"C_OpenSession", ck.CKR_SLOT_ID_INVALID, hub.CodeNoCard},
		{"C_OpenSession", ck.CKR_SESSION_COUNT, hub.CodeBusy},
		{"C_GetMechanismList", ck.CKR_DEVICE_REMOVED, hub.CodeNoCard},
		{"C_FindObjects", ck.CKR_SESSION_HANDLE_INVALID, hub.CodeNoCard},
		{"C_FindObjects", ck.CKR_SESSION_CLOSED, hub.CodeNoCard},
		{"C_GetAttributeValue", ck.CKR_DEVICE_MEMORY, hub.CodeInternal},
		{"C_Login", ck.CKR_PIN_LOCKED, hub.CodePINBlocked},
		{"C_Login", ck.CKR_PIN_EXPIRED, hub.CodePINBlocked},
		{"C_Login", ck.CKR_USER_PIN_NOT_INITIALIZED, hub.CodePINBlocked},
		{"C_Login", ck.CKR_FUNCTION_CANCELED, hub.CodeUserCancelled},
		{"C_Login", ck.CKR_FUNCTION_REJECTED, hub.CodeUserCancelled},
		{"C_Login", ck.CKR_CANCEL, hub.CodeUserCancelled},
		{"C_Login", ck.CKR_USER_ANOTHER_ALREADY_LOGGED_IN, hub.CodeBusy},
		{"C_Login", ck.CKR_USER_TOO_MANY_TYPES, hub.CodeBusy},
		{"C_Login", ck.CKR_DEVICE_REMOVED, hub.CodeNoCard},
		{"C_Login", ck.CKR_FUNCTION_FAILED, hub.CodeInternal},
		{"C_SignInit", ck.CKR_MECHANISM_INVALID, hub.CodeUnsupportedAlgorithm},
		{"C_SignInit", ck.CKR_MECHANISM_PARAM_INVALID, hub.CodeUnsupportedAlgorithm},
		{"C_SignInit", ck.CKR_KEY_TYPE_INCONSISTENT, hub.CodeUnsupportedAlgorithm},
		{"C_SignInit", ck.CKR_KEY_SIZE_RANGE, hub.CodeUnsupportedAlgorithm},
		{"C_SignInit", ck.CKR_KEY_FUNCTION_NOT_PERMITTED, hub.CodeUnsupportedAlgorithm},
		{"C_SignInit", ck.CKR_USER_NOT_LOGGED_IN, hub.CodeInternal},
		{"C_Sign", ck.CKR_DEVICE_REMOVED, hub.CodeNoCard},
		{"C_Sign", ck.CKR_SESSION_HANDLE_INVALID, hub.CodeNoCard},
		{"C_Sign", ck.CKR_USER_NOT_LOGGED_IN, hub.CodeInternal},
		{"C_Sign", ck.CKR_DEVICE_ERROR, hub.CodeInternal},
		{"C_Sign", ck.CKR_FUNCTION_CANCELED, hub.CodeUserCancelled},
		{"C_Sign", ck.CKR_VENDOR_DEFINED + 5, hub.CodeInternal},
	}
	for _, test := range tests {
		name := fmt.Sprintf("%s answers %#x", test.function, test.answer)
		t.Run(name, func(t *testing.T) {
			card := newCard(t)
			f := newFake(card)
			s := f.use(t, Config{})
			r := request(t, s, 2, pinsOf("1234"))
			f.on = func(function string) error {
				if function == test.function {
					return answer(function, test.answer)
				}
				return nil
			}
			signatures, err := s.Sign(t.Context(), r)
			e := requireCode(t, test.code, err)
			assert.Empty(t, signatures)
			assert.NotContains(t, fmt.Sprintf("%v %v", e, e.Err), "1234")
			if e.Err != nil && test.function != "C_GetTokenInfo" {
				assert.Contains(t, e.Err.Error(), test.function)
			}
			f.on = nil
			assert.False(t, card.loggedIn)
			assert.Empty(t, f.sessions)
			r.PIN = pinsOf("1234").ask
			_, err = s.Sign(t.Context(), r)
			require.NoError(t, err, "the next batch is not concerned")
		})
	}
}

func TestPartialBatch(t *testing.T) {
	card := newCard(t)
	f := newFake(card)
	s := f.use(t, Config{})
	r := request(t, s, 5, pinsOf("1234"))
	f.on = func(function string) error {
		if function == "C_Sign" && f.count("C_Sign") == 3 {
			f.remove(0)
		}
		return nil
	}
	signatures, err := s.Sign(t.Context(), r)
	requireCode(t, hub.CodeNoCard, err)
	requireVerified(t, &card.pairs[0].key.PublicKey, r.Algorithm, r.Documents[:2], signatures)
}

func TestCertificates(t *testing.T) {
	keys := testKeys()
	root := certify(t, "Root", &keys[2].PublicKey, nil, keys[2], func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	})
	sub := certify(t, "Sub", &keys[1].PublicKey, root, keys[2], func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	})
	usage := func(u x509.KeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.KeyUsage = u }
	}
	login := certify(t, "login", &keys[0].PublicKey, sub, keys[1], usage(x509.KeyUsageDigitalSignature))
	sign := certify(t, "sign", &keys[0].PublicKey, sub, keys[1])
	expired := certify(t, "expired", &keys[0].PublicKey, sub, keys[1], func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = testNow.Add(-3*time.Hour), testNow.Add(-2*time.Hour)
	})
	longer := certify(t, "longer", &keys[0].PublicKey, sub, keys[1], func(c *x509.Certificate) { c.NotAfter = testNow.Add(9 * time.Hour) })
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, sign, sub, ec.Public(), keys[1])
	require.NoError(t, err)

	id := []byte{1}
	tests := []struct {
		name  string
		flags uint
		pairs []pair
		want  []string
	}{
		{
			"contentCommitment first, then the valid, then the longest", ck.CKF_LOGIN_REQUIRED, []pair{
				{id: id, der: login.Raw, key: keys[0], public: true},
				{id: id, der: expired.Raw},
				{id: id, der: sign.Raw},
				{id: id, der: longer.Raw},
				{id: []byte{2}, der: sub.Raw},
				{id: []byte{3}, der: root.Raw},
			}, []string{"longer", "sign", "expired", "login"},
		},
		{"what is beside no public key isn't the user's", ck.CKF_LOGIN_REQUIRED, []pair{
			{id: id, der: sign.Raw, key: keys[0], public: true}, {id: []byte{9}, der: certify(t, "other", &keys[1].PublicKey, root, keys[2]).Raw},
		}, []string{"sign"}},
		{"nothing to tell by", ck.CKF_LOGIN_REQUIRED, []pair{{id: id, der: sign.Raw, key: keys[0]}, {id: id, der: sub.Raw}}, []string{"sign"}},
		{"keys that show", 0, []pair{{id: id, der: sign.Raw, key: keys[0], open: true}, {id: id, der: login.Raw}, {id: id, der: root.Raw}}, []string{"sign", "login"}},
		{"a token without PIN and without keys", 0, []pair{{id: id, der: sign.Raw}}, nil},
		{"certificates that can't be used", ck.CKF_LOGIN_REQUIRED, []pair{{id: id, der: []byte("no")}, {id: id, der: der}, {id: id, der: []byte{}}}, nil},
		{"none", ck.CKF_LOGIN_REQUIRED, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			card := newCard(t)
			card.flags, card.pairs = test.flags, test.pairs
			f := newFake(card)
			s := f.use(t, Config{})
			certificates, err := s.Certificates(t.Context())
			require.NoError(t, err)
			var got []string
			for _, c := range certificates {
				got = append(got, c.Leaf.Subject.CommonName)
				assert.Equal(t, []string{hub.RS256, hub.RS1}, c.Algorithms)
				assert.Equal(t, c.Leaf.Subject.CommonName != "login", c.NonRepudiation)
				assert.Regexp(t, "^[0-9a-f]{32}$", c.ID)
				for _, issuer := range c.Chain {
					assert.Equal(t, sub, issuer, "without the root")
				}
			}
			assert.Equal(t, test.want, got)
			assert.Empty(t, f.pins, "nobody is asked")
		})
	}
}

func TestStatus(t *testing.T) {
	card, other := newCard(t), newCard(t)
	other.label, other.serial = "other", "0002"
	tests := []struct {
		name   string
		wanted string
		slots  []*fakeToken
		token  string // "": absent
		log    string // what the error for the log says
	}{
		{"the only one", "", []*fakeToken{card}, "card", ""},
		{"by label", "other", []*fakeToken{card, other}, "other", ""},
		{"by serial number", "0001", []*fakeToken{card, other}, "card", ""},
		{"an empty reader and another", "", []*fakeToken{nil, card}, "card", ""},
		{"no reader", "", nil, "", `no token is present (wanted: "")`},
		{"empty readers", "card", []*fakeToken{nil, nil}, "", `no token is present (wanted: "card")`},
		{"two", "", []*fakeToken{card, other}, "", `several are present: "card" (serial number "0001"), "other" (serial number "0002")`},
		{"two of one label", "card", []*fakeToken{card, newCard(t)}, "", "name one by its serial number"},
		{"another", "mine", []*fakeToken{card}, "", `no token has the label or serial number "mine"; present: "card" (serial number "0001")`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newFake(test.slots...).use(t, Config{Token: test.wanted})
			status, err := s.Status(t.Context())
			require.NoError(t, err)
			if test.token != "" {
				assert.Equal(t, hub.Status{
					Card: hub.CardPresent, Token: test.token, Algorithms: []string{hub.RS256, hub.RS1},
					PIN: &hub.PINRequest{Token: test.token, Retries: -1},
				}, status)
				return
			}
			assert.Equal(t, hub.Status{Card: hub.CardAbsent}, status)
			_, err = s.Certificates(t.Context())
			e := requireCode(t, hub.CodeNoCard, err)
			assert.NotContains(t, e.Error(), "card\"", "the text for the web site names no token")
			assert.ErrorContains(t, e.Err, test.log)
		})
	}
}

// The status tells whether a batch would ask for the PIN.
func TestStatusPIN(t *testing.T) {
	last := &hub.PINRequest{Token: "card", Retries: 1}
	tests := []struct {
		name       string
		configured string
		card       func(*fakeToken)
		want       *hub.PINRequest
	}{
		{"asked", "", func(*fakeToken) {}, &hub.PINRequest{Token: "card", Retries: -1}},
		{"configured", "1234", func(*fakeToken) {}, nil},
		{"the last try", "", func(c *fakeToken) { c.tries = 1 }, last},
		{"configured, but it is the last try", "1234", func(c *fakeToken) { c.tries = 1 }, last},
		{"blocked", "", func(c *fakeToken) { c.tries = 0 }, nil},
		{"typed on the reader", "", func(c *fakeToken) { c.flags |= pinPadFlag }, nil},
		{"no PIN", "", func(c *fakeToken) { c.flags = 0 }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			card := newCard(t)
			test.card(card)
			s := newFake(card).use(t, Config{PIN: test.configured})
			status, err := s.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, test.want, status.PIN)
		})
	}
}

func TestStatusFaults(t *testing.T) {
	f := newFake(newCard(t))
	s := f.use(t, Config{})
	f.on = func(string) error { return errors.New("odd") }
	_, err := s.Status(t.Context())
	requireCode(t, hub.CodeInternal, err)
}

// While a batch is signed, nobody waits for the card to tell that it's there.
func TestStatusDuringBatch(t *testing.T) {
	f := newFake(newCard(t))
	s := f.use(t, Config{})
	r := request(t, s, 1, pinsOf("1234"))
	want, err := s.Status(t.Context())
	require.NoError(t, err)
	arrived, release := make(chan struct{}), make(chan struct{})
	f.on = func(function string) error {
		if function == "C_Sign" {
			close(arrived)
			<-release
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Sign(context.Background(), r)
		done <- err
	}()
	<-arrived
	got, err := s.Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, want, got)
	close(release)
	require.NoError(t, <-done)
}

func TestRemovedAndInserted(t *testing.T) {
	card := newCard(t)
	f := newFake(card)
	s := f.use(t, Config{})
	r := request(t, s, 2, pinsOf("1234"))
	sign := func() error {
		r.PIN = pinsOf("1234").ask
		_, err := s.Sign(t.Context(), r)
		return err
	}
	require.NoError(t, sign())
	f.remove(0)
	requireCode(t, hub.CodeNoCard, sign())
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, hub.CardAbsent, status.Card)
	f.insert(0, card)
	require.NoError(t, sign())
	status, err = s.Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, hub.CardPresent, status.Card)
}

// Modules tell once of a card that was out since they last looked.
func TestStaleAnswerIsAskedAgain(t *testing.T) {
	for _, function := range []string{"C_OpenSession", "C_FindObjects", "C_GetMechanismList"} {
		t.Run(function, func(t *testing.T) {
			f := newFake(newCard(t))
			s := f.use(t, Config{})
			r := request(t, s, 1, pinsOf("1234"))
			told := false
			f.on = func(called string) error {
				if called == function && !told {
					told = true
					return answer(function, ck.CKR_DEVICE_REMOVED)
				}
				return nil
			}
			_, err := s.Sign(t.Context(), r)
			require.NoError(t, err)
			assert.True(t, told)
		})
	}
}

// A card that is changed while the user types the PIN never sees that PIN.
func TestChangedCardSeesNoPIN(t *testing.T) {
	card, other := newCard(t), newCard(t)
	other.serial = "0002"
	f := newFake(card)
	s := f.use(t, Config{})
	r := request(t, s, 1, pinsOf())
	r.PIN = func(context.Context, hub.PINRequest) (string, error) {
		f.remove(0)
		f.insert(0, other)
		return "1234", nil
	}
	_, err := s.Sign(t.Context(), r)
	requireCode(t, hub.CodeNoCard, err)
	assert.Empty(t, f.pins)
}

func TestCancelBetweenDocuments(t *testing.T) {
	card := newCard(t)
	f := newFake(card)
	s := f.use(t, Config{})
	r := request(t, s, 50, pinsOf("1234"))
	ctx, cancel := context.WithCancel(t.Context())
	signed := make(chan int, 50)
	release := make(chan struct{})
	f.on = func(function string) error {
		if function == "C_Sign" && f.count("C_Sign") == 3 {
			cancel()
			<-release
		}
		return nil
	}
	r.Progress = func(done int) { signed <- done }
	signatures, err := s.Sign(ctx, r)
	require.ErrorIs(t, err, context.Canceled)
	requireVerified(t, &card.pairs[0].key.PublicKey, r.Algorithm, r.Documents[:2], signatures)
	close(release)
	_, err = s.Certificates(t.Context()) // the module is free again
	require.NoError(t, err)
	assert.Len(t, signed, 2, "nothing is told to who has left")
	assert.Equal(t, 3, f.count("C_Sign"))
	assert.False(t, card.loggedIn)
}

func TestCloseEndsTheBatch(t *testing.T) {
	f := newFake(newCard(t))
	s := f.use(t, Config{})
	r := request(t, s, 50, pinsOf("1234"))
	closed, release := make(chan error, 1), make(chan struct{})
	f.on = func(function string) error {
		if function == "C_Sign" && f.count("C_Sign") == 2 {
			go func() { closed <- s.Close() }()
			<-release
		}
		return nil
	}
	_, err := s.Sign(t.Context(), r)
	require.ErrorIs(t, err, context.Canceled)
	close(release)
	require.NoError(t, <-closed)
	require.NoError(t, s.Close(), "twice is once")
	assert.Equal(t, 2, f.count("C_Sign"))
	_, err = s.Certificates(t.Context())
	requireCode(t, hub.CodeInternal, err)
	require.ErrorIs(t, err, cryptoki.ErrClosed)
}

func TestConcurrentBatches(t *testing.T) {
	card := newCard(t)
	s := newFake(card).use(t, Config{})
	base := request(t, s, 5, pinsOf())
	done := make(chan error)
	const batches = 8
	for i := range batches {
		go func() {
			r := base
			r.PIN, r.Documents = pinsOf("1234").ask, documents(i)
			signatures, err := s.Sign(context.Background(), r)
			if err == nil && len(signatures) != i {
				err = errors.New("another batch's signatures")
			}
			done <- err
		}()
	}
	for range batches {
		require.NoError(t, <-done)
	}
}
