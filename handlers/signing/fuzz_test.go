package signing

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// checkAnswer checks what holds for every answer to whatever was sent.
func checkAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code == http.StatusOK {
		return
	}
	if w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var shape struct {
		StatusCode     int
		Error, Message string
	}
	d := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(&shape); err != nil || shape.StatusCode != w.Code || shape.Message == "" || shape.Error != http.StatusText(w.Code) {
		t.Fatalf("%v: %+v", err, shape)
	}
}

// FuzzRequest posts anything. What is accepted must be what golang-jwt accepts.
func FuzzRequest(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "signing_jwts.json"))
	if err != nil {
		f.Fatal(err)
	}
	var vectors struct{ Cases []struct{ Token string } }
	if err := json.Unmarshal(data, &vectors); err != nil {
		f.Fatal(err)
	}
	for _, v := range vectors.Cases {
		f.Add([]byte(v.Token))
	}
	api := newFixture(f, func(c *Config) { c.Profile, c.Logger, c.Observe = ProfileDocumented, nil, nil })
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS512"}), jwt.WithAudience(base), jwt.WithTimeFunc(api.clock.now), jwt.WithExpirationRequired())
	f.Fuzz(func(t *testing.T, body []byte) {
		w := api.post(t, string(body))
		checkAnswer(t, w)
		if w.Code != http.StatusOK {
			return
		}
		_, err := parser.Parse(string(body), func(*jwt.Token) (any, error) { return &privateKeys()["test-4096"].PublicKey, nil })
		if err != nil {
			t.Fatalf("golang-jwt refuses it: %v", err)
		}
	})
}

// FuzzClaims signs anything as header and claims, so that what comes after the
// signature is reached too.
func FuzzClaims(f *testing.F) {
	api := newFixture(f, func(c *Config) {
		c.Profile, c.Logger, c.Observe, c.MinKeyBits = ProfileDocumented, nil, nil, 2048
	})
	good, err := json.Marshal(api.goodClaims(nil))
	if err != nil {
		f.Fatal(err)
	}
	const header = `{"alg":"RS512","typ":"JWT","kid":"test-2048"}`
	f.Add(header, string(good))
	f.Add(header, `{"iss":"client-1","sub":"1","aud":["`+base+`"],"exp":1800000001.5,"iat":0,"nbf":1,"algorithm":"RS1","payload":"YQ\u003d="}`)
	f.Add(`{"alg":"RS512","typ":"JWT","kid":1}`, `{"payloads":[{"id":"a","payload":"YQ=="},{"id":"a"}]}`)
	f.Fuzz(func(t *testing.T, header, claims string) {
		signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		signature, err := jwt.SigningMethodRS512.Sign(signed, privateKeys()["test-2048"])
		if err != nil {
			t.Fatal(err)
		}
		w := api.post(t, signed+"."+base64.RawURLEncoding.EncodeToString(signature))
		checkAnswer(t, w)
		if w.Code != http.StatusOK {
			return
		}
		token := tokenOf(t, w)
		if page := api.call(t, http.MethodGet, "/client?token="+token, ""); page.Code != http.StatusOK {
			t.Fatalf("its page: %d", page.Code)
		}
		if got := api.download(t, token); got.Code != http.StatusOK {
			t.Fatalf("its download: %d", got.Code)
		}
		requireRefusal(t, api.upload(t, token, `{"certificate":"x"}`), 400, api.missingSignature(t, claims))
	})
}

// missingSignature is the refusal of an upload without signatures, by the
// dialect of the request.
func (f *fixture) missingSignature(t *testing.T, claims string) string {
	t.Helper()
	var c map[string]json.RawMessage
	if err := json.Unmarshal([]byte(claims), &c); err != nil {
		t.Fatalf("encoding/json refuses what was accepted: %v", err)
	}
	if _, single := c["payload"]; single {
		return `Invalid request payload: "signature" is required`
	}
	return `Invalid request payload: "signatures" is required`
}

// FuzzUpload uploads anything. What is read must be what encoding/json reads.
func FuzzUpload(f *testing.F) {
	f.Add([]byte(`{"signatures":[{"id":"a","signature":"YQ=="},{"id":"b","signature":"YQ=="}],"certificate":"AAAA","chain":["x"]}`), false)
	f.Add([]byte(`{"signature":"YQ==","certificate":"AAAA"}`), true)
	f.Add([]byte(`{"signatures":[{"signature":"\u0059Q=="}],"certificate":"AAAA","chain":null}`), true)
	f.Add([]byte(`{"signatures":[`), false)
	f.Add(bytes.Repeat([]byte(`[`), 1000), false)
	f.Fuzz(func(t *testing.T, body []byte, single bool) {
		u, ref := readUpload(body, single)
		if ref != nil {
			if ref.status != http.StatusBadRequest || ref.text == "" {
				t.Fatalf("%+v", ref)
			}
			return
		}
		var want struct {
			Signatures  []signature
			Signature   string
			Certificate string
			Chain       []string
		}
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if u.Certificate != want.Certificate || len(u.Chain) != len(want.Chain) {
			t.Fatalf("%+v, %+v", u, want)
		}
		if single && want.Signatures == nil {
			want.Signatures = []signature{{Signature: want.Signature}}
		}
		if len(u.Signatures) != len(want.Signatures) {
			t.Fatalf("%+v, %+v", u, want)
		}
		for i, s := range u.Signatures {
			if s.Value != want.Signatures[i].Signature || !single && s.ID != want.Signatures[i].ID {
				t.Fatalf("%+v, %+v", u, want)
			}
		}
	})
}

// FuzzToken asks for any token in a path.
func FuzzToken(f *testing.F) {
	for _, token := range []string{"_", "abcd", "a%2Fb=", "%", "..", "a/b", "é", "YWJj\n"} {
		f.Add(token)
	}
	api := newFixture(f, func(c *Config) { c.Logger, c.Observe = nil, nil })
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: "/signing-service/signatureresponse/" + token}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		checkAnswer(t, w)
		if w.Code == http.StatusOK {
			t.Fatal("there is no such request")
		}
		_, err := base64.StdEncoding.DecodeString(token)
		valid := err == nil && len(token) <= maxToken && !strings.ContainsAny(token, "\r\n")
		want := textTokenForm
		switch {
		case token == "" || strings.Contains(token, "/"):
			want = textNotFound
		case valid:
			want = textUnknown
		}
		if !bytes.Contains(w.Body.Bytes(), []byte(toJSON(t, want))) {
			t.Fatalf("%d %s, not %s", w.Code, w.Body, want)
		}
	})
}
