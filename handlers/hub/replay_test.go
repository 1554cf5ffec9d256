package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/jwks"
)

// TestSignAgainAsks: what is handed over again is asked for again, and neither
// the card nor its PIN is needed for that.
func TestSignAgainAsks(t *testing.T) {
	p := newPageFixture(t, nil)
	p.signer.set(func() { p.signer.pin, p.signer.hint = secretPIN, true })
	again := call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(p.token(nil))}
	page, result := p.start(again)
	assert.NotContains(t, p.view(page).body, "already")
	fields := approve()
	fields.Set("pin", secretPIN)
	p.post(page, fields, nil)
	require.Equal(t, http.StatusOK, (<-result).StatusCode)

	page, result = p.start(again)
	view := p.view(page).body
	assert.Contains(t, view, "Hand over your signatures again?")
	assert.Contains(t, view, "You have signed this already.")
	assert.Contains(t, view, "<bdi>a</bdi>", "the documents")
	assert.NotContains(t, view, `name="pin"`)
	fields = approve()
	fields.Set("decision", "refuse")
	p.post(page, fields, nil)
	assert.Equal(t, http.StatusForbidden, (<-result).StatusCode)

	page, result = p.start(again)
	p.post(page, approve(), nil)
	assert.Equal(t, http.StatusOK, (<-result).StatusCode)
	calls, signed := p.signer.count()
	assert.Equal(t, 1, calls)
	assert.Equal(t, 2, signed)
}

// TestSignAgainCertificate: a page that names another certificate gets no second
// set of signatures.
func TestSignAgainCertificate(t *testing.T) {
	f := newFixture(t, nil)
	other := goodCertificate(t)
	other.ID = "other"
	f.signer.certificates = append(f.signer.certificates, other)
	token := f.token(nil)
	sign := func(id string) *answer {
		return f.do(call{method: http.MethodPost, path: "/hub/v1/sign", body: fmt.Sprintf(`{"request":%q,"certificateId":%q}`, token, id)})
	}
	first := sign("other")
	require.Equal(t, http.StatusOK, first.StatusCode, first.body)
	a := sign(f.signer.certificates[0].ID)
	assert.Equal(t, http.StatusBadRequest, a.StatusCode)
	assert.Contains(t, a.body, "signed with another certificate")
	assert.Equal(t, first.body, sign("other").body)
	assert.Equal(t, first.body, f.postSign(token).body)
}

// TestSignTheRest: a batch that broke off after some signatures had left the hub
// is ended with the same certificate, and with no other.
func TestSignTheRest(t *testing.T) {
	p := newPageFixture(t, nil)
	p.signer.set(func() { p.signer.failAt = 2 })
	again := call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(p.token(nil))}
	page, result := p.start(again)
	p.post(page, approve(), nil)
	require.Equal(t, http.StatusOK, (<-result).StatusCode)
	before := p.signer.certificates

	p.signer.set(func() { p.signer.failAt, p.signer.certificates = 0, []Certificate{goodCertificate(t)} })
	a := p.do(again)
	assert.Equal(t, http.StatusConflict, a.StatusCode)
	assert.Contains(t, a.body, "signed with another smartcard")

	// After a refusal it can be asked again.
	p.signer.set(func() { p.signer.certificates = before })
	page, result = p.start(again)
	assert.Contains(t, p.view(page).body, "1 of these were signed before")
	assert.Contains(t, p.view(page).body, "Sign 2 documents?")
	fields := approve()
	fields.Set("decision", "refuse")
	p.post(page, fields, nil)
	require.Equal(t, http.StatusForbidden, (<-result).StatusCode)

	page, result = p.start(again)
	p.post(page, approve(), nil)
	require.Equal(t, http.StatusOK, (<-result).StatusCode)
	_, signed := p.signer.count()
	assert.Equal(t, 2, signed, "each document once")
}

// TestSignAbandoned: a part that nobody waited for doesn't leave the hub, so the
// next attempt may be with another card.
func TestSignAbandoned(t *testing.T) {
	f := newFixture(t, nil)
	token := f.token(nil)
	req, err := f.verify(t.Context(), []byte(token), site)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	f.config.Signer = abandoned{f.signer, cancel}
	_, err = f.sign(ctx, site, req, "")
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, f.replays.used)

	f.config.Signer = f.signer
	f.signer.set(func() { f.signer.certificates = []Certificate{goodCertificate(t)} })
	a := f.postSign(token)
	require.Equal(t, http.StatusOK, a.StatusCode, a.body)
	requireSigned(t, a.json(t), RS256)
}

// abandoned is a signer whose batch is cut off after the first document.
type abandoned struct {
	Signer
	leave func()
}

func (s abandoned) Sign(ctx context.Context, r SignRequest) ([][]byte, error) {
	all, err := s.Signer.Sign(ctx, r)
	if err != nil {
		return nil, err
	}
	s.leave()
	return all[:1], ctx.Err()
}

func TestReplaysAreFew(t *testing.T) {
	s := &replays{now: time.Now}
	request := func(i int) *request {
		digest := sha256.Sum256(fmt.Append(nil, i))
		return &request{digest: &digest, expires: time.Now().Add(time.Hour), documents: make([]Document, 2)}
	}
	// Signatures go before the memory that there were some.
	big := make([]byte, maxKept/4)
	for i := range 4 {
		s.keep(&outcome{request: request(i), made: [][]byte{big, big}})
	}
	assert.LessOrEqual(t, s.kept, maxKept)
	_, err := s.find(request(0))
	require.ErrorContains(t, err, "has been signed")
	before, err := s.find(request(3))
	require.NoError(t, err)
	assert.True(t, before.complete(request(3)))

	for i := range maxReplays {
		s.keep(&outcome{request: request(i), made: [][]byte{{1}}})
	}
	_, err = s.find(request(maxReplays))
	require.ErrorIs(t, err, &Error{Code: CodeBusy})
	_, err = s.find(request(1))
	require.NoError(t, err)
}

// TestReplaysModel: whatever is tried in whatever order, the signatures that
// leave the hub for one JWT are of one certificate, and each document's is always
// the same.
func TestReplaysModel(t *testing.T) {
	cards := []Certificate{goodCertificate(t), goodCertificate(t)}
	require.False(t, cards[0].Leaf.Equal(cards[1].Leaf))
	rapid.Check(t, func(t *rapid.T) {
		signer := &chaoticSigner{t: t, cards: cards}
		at := &clock{t: vectorTime}
		h, err := New(Config{
			Origins: []string{site}, Requests: []RequestKeys{{Keys: &jwks.Index{}}}, Signer: signer, Consent: ConsentNever(), Now: at.now,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		requests := make([]*request, 2)
		for i := range requests {
			digest := sha256.Sum256([]byte{byte(i)})
			requests[i] = &request{
				algorithm: RS256, digest: &digest, expires: vectorTime.Add(10 * time.Minute),
				documents: []Document{{ID: "a"}, {ID: "b"}, {ID: "c"}},
			}
		}
		left := make([]outcome, len(requests))
		t.Repeat(map[string]func(*rapid.T){
			"time passes": func(*rapid.T) { at.add(time.Minute) },
			"sign": func(t *rapid.T) {
				i := rapid.IntRange(0, len(requests)-1).Draw(t, "request")
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				signer.leave = cancel
				o, err := h.sign(ctx, site, requests[i], "")
				if err != nil {
					return
				}
				known := left[i]
				if known.certificate != nil && !known.certificate.Leaf.Equal(o.certificate.Leaf) {
					t.Fatal("signatures of two certificates left the hub")
				}
				if len(o.made) < len(known.made) {
					t.Fatal("there were more signatures before")
				}
				for j, signature := range known.made {
					if !bytes.Equal(signature, o.made[j]) {
						t.Fatal("another signature of the same document")
					}
				}
				left[i] = *o
			},
		})
	})
}

// chaoticSigner makes another signature each time, with one of two cards, and
// breaks off as it likes.
type chaoticSigner struct {
	t     *rapid.T
	cards []Certificate
	leave func()
	made  int
}

func (s *chaoticSigner) Status(context.Context) (Status, error) {
	return Status{Card: CardPresent}, nil
}

func (s *chaoticSigner) Certificates(context.Context) ([]Certificate, error) {
	return []Certificate{s.cards[rapid.IntRange(0, 1).Draw(s.t, "card")]}, nil
}

func (s *chaoticSigner) Sign(ctx context.Context, r SignRequest) (all [][]byte, err error) {
	for range rapid.IntRange(0, len(r.Documents)).Draw(s.t, "signed") {
		s.made++
		all = append(all, []byte(fmt.Sprint(r.CertificateID, s.made)))
	}
	if rapid.Bool().Draw(s.t, "leaves") {
		s.leave()
	}
	if len(all) < len(r.Documents) {
		return all, &Error{Code: CodeNoCard}
	}
	return all, nil
}

func (s *chaoticSigner) Close() error { return nil }
