package hub

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInfo(t *testing.T) {
	f := newFixture(t, nil)
	a := f.do(call{path: "/hub/v1/info"})
	require.Equal(t, http.StatusOK, a.StatusCode)
	assert.JSONEq(t, `{"version":"1","name":"Signpost signing hub","algorithms":["RS256","RS1"],"card":"present"}`, a.body)
	assert.Equal(t, site, a.Header.Get("Access-Control-Allow-Origin"))
	assert.Equal(t, "Origin", a.Header.Get("Vary"))
	assert.Empty(t, a.Header.Get("Access-Control-Allow-Credentials"))
	f.nothingLeft(a)

	f.signer.set(func() { f.signer.absent = true })
	assert.Equal(t, "absent", f.do(call{path: "/hub/v1/info"}).json(t)["card"])
	f.signer.set(func() { f.signer.absent, f.signer.err = false, errors.New("reader on fire") })
	assert.Equal(t, "absent", f.do(call{path: "/hub/v1/info"}).json(t)["card"])
	assert.Contains(t, f.log.String(), "reader on fire")
}

func TestCertificates(t *testing.T) {
	f := newFixture(t, nil)
	chain := goodCertificate(t).Leaf
	f.signer.certificates[0].Chain = []*x509.Certificate{chain}
	encipherment := certificateOf(t, "login", x509.KeyUsageKeyEncipherment, vectorTime.AddDate(-1, 0, 0), vectorTime.AddDate(1, 0, 0))
	expired := certificateOf(t, "old", x509.KeyUsageContentCommitment, vectorTime.AddDate(-2, 0, 0), vectorTime.AddDate(-1, 0, 0))
	good := f.signer.certificates[0]
	f.signer.certificates = []Certificate{expired, good, encipherment}

	a := f.do(call{method: http.MethodPost, path: "/hub/v1/certificates", body: " {} ", header: map[string]string{"Content-Type": "application/json; charset=UTF-8"}})
	require.Equal(t, http.StatusOK, a.StatusCode, a.body)
	encode := func(c *x509.Certificate) string { return base64.StdEncoding.EncodeToString(c.Raw) }
	assert.JSONEq(t, fmt.Sprintf(`{"certificates":[
		{"id":"555086689106_TEST","certificate":%q,"chain":[%q],"algorithms":["RS256","RS1"]},
		{"id":"old","certificate":%q,"chain":[],"algorithms":["RS256","RS1"]}
	]}`, encode(good.Leaf), encode(chain), encode(expired.Leaf)), a.body)

	all := newFixture(t, func(c *Config) { c.AllCertificates = true })
	all.signer.certificates = []Certificate{encipherment}
	a = all.do(call{method: http.MethodPost, path: "/hub/v1/certificates", body: "{}"})
	assert.Len(t, a.json(t)["certificates"], 1)

	for _, body := range []string{"[]", "null", `{"a":1,"a":2}`, `{"a":1,"A":2}`, "{} {}", "{", "\ufeff{}"} {
		a = f.do(call{method: http.MethodPost, path: "/hub/v1/certificates", body: body})
		assert.Equal(t, http.StatusBadRequest, a.StatusCode, body)
		assert.Equal(t, "request_invalid", a.json(t)["error"])
	}
	a = f.do(call{method: http.MethodPost, path: "/hub/v1/certificates", body: `{"a":"` + strings.Repeat("x", maxCertificatesBody) + `"}`})
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.StatusCode)
}

func TestSign(t *testing.T) {
	for _, algorithm := range []string{RS256, RS1} {
		f := newFixture(t, nil)
		a := f.postSign(f.token(map[string]any{"algorithm": algorithm}))
		require.Equal(t, http.StatusOK, a.StatusCode, a.body)
		m := a.json(t)
		requireSigned(t, m, algorithm)
		assert.Equal(t, []any{}, m["failed"])
		assert.Equal(t, []any{}, m["chain"])
		assert.Len(t, m, 4)
	}
}

// TestSignSingle: the dialect with one payload has no id.
func TestSignSingle(t *testing.T) {
	f := newFixture(t, nil)
	a := f.postSign(f.token(map[string]any{"payloads": nil, "payload": "YQ=="}))
	require.Equal(t, http.StatusOK, a.StatusCode, a.body)
	signatures := a.json(t)["signatures"].([]any)
	require.Len(t, signatures, 1)
	raw, err := base64.StdEncoding.DecodeString(signatures[0].(map[string]any)["signature"].(string))
	require.NoError(t, err)
	requireVerifies(t, f.signer.certificates[0].Leaf, RS256, "a", raw)
}

func TestSignMany(t *testing.T) {
	f := newFixture(t, nil)
	all := make([]any, maxDocuments)
	for i := range all {
		all[i] = map[string]any{"id": fmt.Sprint(i), "payload": base64.StdEncoding.EncodeToString(fmt.Append(nil, i)), "display": "x"}
	}
	a := f.postSign(f.token(map[string]any{"payloads": all}))
	require.Equal(t, http.StatusOK, a.StatusCode, a.body)
	assert.Len(t, a.json(t)["signatures"], maxDocuments)
	a = f.postSign(f.token(map[string]any{"payloads": append(all, map[string]any{"id": "x", "payload": "YQ=="})}))
	assert.Equal(t, http.StatusBadRequest, a.StatusCode)
}

// TestSignedOnce: a JWT is good for one set of signatures, but may be tried
// again until there is one, and is answered with the same one afterwards.
func TestSignedOnce(t *testing.T) {
	f := newFixture(t, nil)
	token := f.token(nil)
	f.signer.set(func() { f.signer.absent = true })
	a := f.postSign(token)
	assert.Equal(t, http.StatusConflict, a.StatusCode)
	assert.Equal(t, "no_card", a.json(t)["error"])
	f.signer.set(func() { f.signer.absent = false })
	first := f.postSign(token)
	require.Equal(t, http.StatusOK, first.StatusCode)
	// The card isn't needed for what was signed.
	f.signer.set(func() { f.signer.certificates, f.signer.absent = []Certificate{goodCertificate(t)}, true })
	a = f.postSign(token)
	assert.Equal(t, http.StatusOK, a.StatusCode)
	assert.Equal(t, first.body, a.body)
	assert.Contains(t, f.log.String(), "signatures given again")
	f.signer.set(func() { f.signer.absent = false })
	_, signed := f.signer.count()
	assert.Equal(t, 2, signed)
	require.Equal(t, http.StatusOK, f.postSign(f.token(map[string]any{"jti": "another"})).StatusCode)

	// It is remembered until it has run out, and no longer.
	f.clock.add(299_000_000_000)
	assert.Equal(t, first.body, f.postSign(token).body)
	f.clock.add(1_000_000_000)
	assert.Contains(t, f.postSign(token).body, "run out")
	require.Equal(t, http.StatusOK, f.postSign(f.token(nil)).StatusCode)
	assert.Len(t, f.replays.used, 1)
}

func TestSignInPart(t *testing.T) {
	f := newFixture(t, nil)
	f.signer.failAt = 2
	token := f.token(nil)
	a := f.postSign(token)
	require.Equal(t, http.StatusOK, a.StatusCode, a.body)
	m := a.json(t)
	assert.Len(t, m["signatures"], 1)
	assert.Equal(t, []any{map[string]any{"id": "b", "error": "no_card"}}, m["failed"])
	// When nothing more can be signed, the answer says why.
	f.signer.failAt = 1
	assert.Equal(t, http.StatusConflict, f.postSign(token).StatusCode)
	f.signer.failAt = 0
	again := f.postSign(token).json(t)
	requireSigned(t, again, RS256)
	assert.Equal(t, m["signatures"], again["signatures"].([]any)[:1])
	_, signed := f.signer.count()
	assert.Equal(t, 2, signed, "each document once")
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		code   Code
		status int
	}{
		{CodeNoCard, http.StatusConflict},
		{CodeNoCertificate, http.StatusConflict},
		{CodeBusy, http.StatusConflict},
		{CodePINIncorrect, http.StatusForbidden},
		{CodeUserCancelled, http.StatusForbidden},
		{CodePINBlocked, http.StatusLocked},
		{CodeUnsupportedAlgorithm, http.StatusBadRequest},
		{CodeInternal, http.StatusInternalServerError},
	} {
		f := newFixture(t, nil)
		f.signer.err = &Error{Code: c.code, RetriesLeft: 2}
		a := f.postSign(f.token(nil))
		assert.Equal(t, c.status, a.StatusCode, c.code)
		m := a.json(t)
		assert.Equal(t, string(c.code), m["error"])
		assert.NotEmpty(t, m["message"])
		if c.code == CodePINIncorrect {
			assert.InDelta(t, 2, m["retriesLeft"], 0)
		} else {
			assert.NotContains(t, m, "retriesLeft")
		}
	}
	f := newFixture(t, nil)
	f.signer.err = errors.New("secret path /etc/x")
	a := f.postSign(f.token(nil))
	assert.Equal(t, "internal", a.json(t)["error"])
	assert.NotContains(t, a.body, "secret path")
	assert.Contains(t, f.log.String(), "secret path")
}

func TestCertificateOfChoice(t *testing.T) {
	f := newFixture(t, nil)
	other := certificateOf(t, "000000000000_OTHER", x509.KeyUsageContentCommitment, vectorTime.AddDate(-1, 0, 0), vectorTime.AddDate(1, 0, 0))
	other.Algorithms = []string{RS256}
	own := f.signer.certificates[0]
	f.signer.certificates = []Certificate{other, own}
	post := func(id, jti, algorithm string) *answer {
		token := f.token(map[string]any{"jti": jti, "algorithm": algorithm})
		return f.do(call{method: http.MethodPost, path: "/hub/v1/sign", body: `{"request":"` + token + `","certificateId":` + id + `}`})
	}
	signer := func(a *answer) string {
		require.Equal(t, http.StatusOK, a.StatusCode, a.body)
		return a.json(t)["certificate"].(string)
	}
	assert.Equal(t, base64.StdEncoding.EncodeToString(other.Leaf.Raw), signer(post(`"000000000000_OTHER"`, "1", RS256)))
	assert.Equal(t, base64.StdEncoding.EncodeToString(own.Leaf.Raw), signer(f.postSign(f.token(map[string]any{"jti": "2"}))), "the subject's own comes first")
	assert.Equal(t, base64.StdEncoding.EncodeToString(own.Leaf.Raw), signer(f.postSign(f.token(map[string]any{"jti": "3", "algorithm": RS1}))))
	a := post(`"nobody"`, "4", RS256)
	assert.Equal(t, http.StatusConflict, a.StatusCode)
	assert.Equal(t, "no_certificate", a.json(t)["error"])
	a = post(`"000000000000_OTHER"`, "5", RS1)
	assert.Equal(t, http.StatusBadRequest, a.StatusCode)
	assert.Equal(t, "unsupported_algorithm", a.json(t)["error"])
	for _, id := range []string{"1", `""`, "null", `"` + strings.Repeat("x", 257) + `"`} {
		assert.Equal(t, http.StatusBadRequest, post(id, "6", RS256).StatusCode, id)
	}
	f.signer.certificates = nil
	a = f.postSign(f.token(nil))
	assert.Equal(t, http.StatusConflict, a.StatusCode)
	assert.Equal(t, "no_certificate", a.json(t)["error"])
}

func TestSignBodies(t *testing.T) {
	f := newFixture(t, nil)
	for _, body := range []string{
		"{}", `{"request":1}`, `{"request":""}`, `{"request":null}`, `{"request":"a","request":"b"}`, `{"Request":"a"}`, `"a.b.c"`,
		`{"request":"a.b"}`, `{"request":"a.b.c"}`, `{"request":"…"}`, `{"request":"a.b.c"}x`,
	} {
		a := f.do(call{method: http.MethodPost, path: "/hub/v1/sign", body: body})
		assert.Equal(t, http.StatusBadRequest, a.StatusCode, body)
		assert.Equal(t, "request_invalid", a.json(t)["error"], body)
		f.nothingLeft(a)
	}
	w := serve(t, f.Hub, http.MethodPost, "/hub/v1/sign", typeJSON, `{"request":"`+strings.Repeat("a", maxSign)+`"}`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
}

func TestBusy(t *testing.T) {
	f := newFixture(t, nil)
	f.signer.hold = make(chan struct{})
	first := make(chan *answer, 1)
	token := f.token(map[string]any{"jti": "1"})
	go func() {
		a, err := f.try(context.WithoutCancel(t.Context()), call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(token)})
		if assert.NoError(t, err) {
			first <- a
		}
	}()
	<-f.signer.holding
	for _, c := range []call{
		{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(f.token(nil))},
		{method: http.MethodPost, path: "/hub/v1/certificates", body: "{}"},
	} {
		a := f.do(c)
		assert.Equal(t, http.StatusConflict, a.StatusCode)
		assert.Equal(t, "busy", a.json(t)["error"])
	}
	assert.Equal(t, "present", f.do(call{path: "/hub/v1/info"}).json(t)["card"], "info is no operation")
	close(f.signer.hold)
	requireSigned(t, (<-first).json(t), RS256)
	f.signer.set(func() { f.signer.hold = nil })
	assert.Equal(t, http.StatusOK, f.postSign(f.token(nil)).StatusCode)
}

// TestBrowserGone: when the browser goes away, so does the operation.
func TestBrowserGone(t *testing.T) {
	f := newFixture(t, nil)
	f.signer.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	token := f.token(nil)
	gone := make(chan error, 1)
	go func() {
		_, err := f.try(ctx, call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(token)})
		gone <- err
	}()
	<-f.signer.holding
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	f.slot <- struct{}{} // free as soon as the signer has stopped
	<-f.slot
	f.signer.set(func() { f.signer.hold = nil })
	a := f.postSign(token)
	require.Equal(t, http.StatusOK, a.StatusCode, "nothing was signed, so the JWT is good: %s", a.body)
}

func TestClose(t *testing.T) {
	f := newFixture(t, nil)
	f.signer.hold = make(chan struct{})
	token := f.token(nil)
	ended := make(chan *answer, 1)
	go func() {
		a, err := f.try(context.WithoutCancel(t.Context()), call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(token)})
		if assert.NoError(t, err) {
			ended <- a
		}
	}()
	<-f.signer.holding
	require.NoError(t, f.Hub.Close())
	a := <-ended
	assert.Equal(t, http.StatusInternalServerError, a.StatusCode)
	assert.Contains(t, a.body, "being stopped")
	assert.Equal(t, http.StatusInternalServerError, f.postSign(f.token(nil)).StatusCode)
	assert.Equal(t, "absent", f.do(call{path: "/hub/v1/info"}).json(t)["card"])
}
