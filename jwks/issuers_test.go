package jwks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// otherKey is a JWK of other bytes than jwkWith's.
func otherKey(tb testing.TB, kid, issuer string) string {
	tb.Helper()
	for name := range privateKeys() {
		if k := testKey(tb, name, ""); k.Kty == TypeRSA && k.Thumbprint != testKey(tb, "test-4096", "RS512").Thumbprint {
			k.Kid = kid
			data, err := json.Marshal(k.For(issuer))
			require.NoError(tb, err)
			return string(data)
		}
	}
	require.Fail(tb, "there is no other key")
	return ""
}

func TestParseIssuers(t *testing.T) {
	long := strings.Repeat("x", maxIssuer)
	of := func(issuer any) string { return jwkWith(t, map[string]any{"kid": "a", IssuerMember: issuer}) }
	for _, c := range []struct {
		name    string
		keys    []string
		want    []string // issuer and kid
		skipped []string // reasons
	}{
		{"nobody's", []string{of(nil)}, []string{" a"}, nil},
		{"one", []string{of("one")}, []string{"one a"}, nil},
		{"a kid of two", []string{of("one"), otherKey(t, "a", "two")}, []string{"one a", "two a"}, nil},
		{"a kid twice of one", []string{of("one"), otherKey(t, "a", "one"), of("two")}, []string{"two a"}, []string{"same kid", "same kid"}},
		{"a key twice", []string{of("one"), of("one")}, []string{"one a"}, nil},
		{"some are nobody's", []string{of(nil), of("one")}, []string{"one a"}, []string{"it has no signpost_iss"}},
		{"empty", []string{of(""), of(nil)}, nil, []string{"its signpost_iss is not a text", "it has no signpost_iss"}},
		{"a number", []string{of(1), of("one")}, []string{"one a"}, []string{"its signpost_iss is not a text"}},
		{"null", []string{of(json.RawMessage("null"))}, nil, []string{"its signpost_iss is not a text"}},
		{"as long as can be", []string{of(long)}, []string{long + " a"}, nil},
		{"too long", []string{of(long + "x")}, nil, []string{"its signpost_iss is not a text"}},
		{"unusable, and bound", []string{jwkWith(t, map[string]any{"use": "enc", IssuerMember: "one"}), of(nil)}, nil, []string{`use is "enc"`, "it has no signpost_iss"}},
		{"not known by another case", []string{jwkWith(t, map[string]any{"kid": "a", "SIGNPOST_ISS": "one"})}, []string{" a"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			keys, skipped, err := Parse([]byte(jwksOf(c.keys...)), Limits{Issuers: true})
			require.NoError(t, err)
			var got []string
			for _, k := range keys {
				got = append(got, k.Issuer+" "+k.Kid)
			}
			assert.Equal(t, c.want, got)
			require.Len(t, skipped, len(c.skipped), "%v", skipped)
			for i, want := range c.skipped {
				assert.Contains(t, skipped[i].Reason, want)
			}
		})
	}

	// Without the option the member is one that isn't known.
	keys, skipped, err := Parse([]byte(jwksOf(of(1), of("one"))), Limits{})
	require.NoError(t, err)
	assert.Empty(t, skipped)
	require.Len(t, keys, 1)
	assert.Empty(t, keys[0].Issuer)
}

func TestKeyFor(t *testing.T) {
	nameless, err := NewKey("", "RS512", testKey(t, "test-4096", "RS512").Public)
	require.NoError(t, err)
	bound := nameless.For("client-1")
	assert.Equal(t, nameless.Thumbprint, bound.Kid)
	text, err := json.Marshal(JWKS{Keys{bound}})
	require.NoError(t, err)
	keys, _, err := Parse(text, Limits{Issuers: true})
	require.NoError(t, err)
	bound.Use = "sig"
	assert.Equal(t, Keys{bound}, keys)
	text, err = json.Marshal(nameless)
	require.NoError(t, err)
	assert.NotContains(t, string(text), "iss")
}

func TestKeyOf(t *testing.T) {
	one := testKey(t, "test-4096", "RS512")
	bound := index(t, one.For("one"), one.For("two"))
	for _, c := range []struct {
		name        string
		x           *Index
		issuer, kid string
		found       string // issuer; "-" for nothing
	}{
		{"its own", bound, "two", one.Kid, "two"},
		{"another's", bound, "three", one.Kid, "-"},
		{"nobody's", bound, "", one.Kid, "-"},
		{"another kid", bound, "one", "x", "-"},
		{"no kid", bound, "one", "", "-"},
		{"the only key", index(t, one.For("one")), "one", "", "one"},
		{"the only key is another's", index(t, one.For("one")), "two", "", "-"},
		{"a set that doesn't say", index(t, one), "one", one.Kid, ""},
	} {
		k, err := c.x.KeyOf(t.Context(), c.issuer, c.kid)
		if c.found == "-" {
			require.ErrorIs(t, err, ErrUnknownKid, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		assert.Equal(t, c.found, k.Issuer, c.name)
	}
	_, err := bound.Key(t.Context(), one.Kid)
	require.ErrorIs(t, err, ErrUnknownKid, "who doesn't say for which issuer gets no key that is one's alone")
}

// TestURLOptions: more keys and a longer document, and whose they are.
func TestURLOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := []string{jwkWith(t, map[string]any{"kid": "a", IssuerMember: "one"}), otherKey(t, "a", "two")}
		for i := range DefaultMaxKeys {
			all = append(all, jwkWith(t, map[string]any{"kid": fmt.Sprint(i), IssuerMember: "many"}))
		}
		server := &fakeServer{body: jwksOf(all...), status: http.StatusOK}
		require.Greater(t, len(server.body), MaxURLBytes)
		s := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: server, MaxKeys: DefaultMaxKeys, MaxBytes: 2 << 20, Issuers: true}))
		require.NoError(t, s.Start(t.Context()))
		for issuer, kid := range map[string]string{"one": "a", "two": "a", "many": "997"} {
			k, err := s.KeyOf(t.Context(), issuer, kid)
			require.NoError(t, err)
			assert.Equal(t, issuer, k.Issuer)
		}
		assert.Len(t, s.Keys(), DefaultMaxKeys)
		assert.Contains(t, s.Status().Sources[0].Skipped[0].Reason, "2 more keys are not read")

		// The key of another issuer is worth a look at the server, as any unknown one.
		fetches := server.count()
		_, err := s.KeyOf(t.Context(), "one", "997")
		require.ErrorIs(t, err, ErrUnknownKid)
		assert.Equal(t, fetches+1, server.count())

		// A key that goes over to another issuer is another key.
		server.set(func(f *fakeServer) { f.body = jwksOf(jwkWith(t, map[string]any{"kid": "a", IssuerMember: "two"})) })
		time.Sleep(time.Hour)
		_, err = s.KeyOf(t.Context(), "one", "a")
		require.ErrorIs(t, err, ErrUnknownKid)
		_, err = s.KeyOf(t.Context(), "two", "a")
		require.NoError(t, err)

		plain := setOf(t, urlSource(t, URLConfig{URL: fakeURL, Transport: &fakeServer{body: jwksOf(all...), status: http.StatusOK}}))
		require.ErrorContains(t, plain.Start(t.Context()), "longer than 512 KiB")
	})
	for _, cfg := range []URLConfig{{MaxKeys: -1}, {MaxKeys: DefaultMaxKeys + 1}, {MaxBytes: -1}, {MaxBytes: DefaultMaxBytes + 1}} {
		cfg.URL = fakeURL
		_, err := NewURL(cfg)
		require.ErrorContains(t, err, "at most 1000 keys and 4 MiB")
	}
}

// FuzzParseIssuers: keys are somebody's together or nobody's together, and come
// back as they were published.
func FuzzParseIssuers(f *testing.F) {
	const key = `"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	for _, seed := range []string{
		`{"keys":[{` + key + `,"kid":"a","signpost_iss":"one"},{` + key + `,"kid":"a","signpost_iss":"two"}]}`,
		`{"keys":[{` + key + `,"signpost_iss":"one"},{` + key + `}]}`,
		`{"keys":[{` + key + `,"signpost_iss":""},{` + key + `,"signpost_iss":["one"]}]}`,
		`{` + key + `,"signpost_iss":"one","Signpost_iss":"two"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := Parse(data, Limits{MaxKeys: 20, MaxBytes: 1 << 16, Issuers: true})
		if err != nil {
			return
		}
		published, err := json.Marshal(JWKS{keys})
		if err != nil {
			t.Fatal(err)
		}
		again, lost, err := Parse(published, Limits{Issuers: true})
		if err != nil || len(lost) > 0 || len(again) != len(keys) {
			t.Fatalf("%d keys come back as %d: %v, %v", len(keys), len(again), lost, err)
		}
		for i, k := range keys {
			if k.Issuer != again[i].Issuer || k.id() != again[i].id() || !k.same(again[i]) {
				t.Fatalf("%v comes back as %v", k, again[i])
			}
			if (k.Issuer == "") != (keys[0].Issuer == "") {
				t.Fatal("some keys are anybody's")
			}
		}
	})
}
