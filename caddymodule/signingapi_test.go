package caddymodule

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

const signingBase = "https://sign.example.test/signing-service"

// signingClient is a client of the configuration with the vectors' keys.
func signingClient(t testing.TB) string {
	return fmt.Sprintf("storage memory %s\nclient client-1 {\n name Pharmacy\n keys file %s\n callback https://app.example/cb?x=1\n}\n",
		strings.ReplaceAll(t.Name(), "/", "-"), keyFile(t))
}

// call sends one request with header lines as they are.
func call(t testing.TB, addr, method, path, body string, lines ...string) answer {
	t.Helper()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: sign.example.test\r\nConnection: close\r\nContent-Length: %d\r\n", method, path, len(body))
	for _, line := range lines {
		head += line + "\r\n"
	}
	return raw(t, addr, head+"\r\n"+body)
}

// TestSigningVectors posts every case of the token vectors to a real listener,
// as it is and signed anew for the present.
func TestSigningVectors(t *testing.T) {
	var vectors struct {
		Now   int64
		Cases []struct{ ID, Token, Expect, Note, Scope string }
	}
	require.NoError(t, json.Unmarshal(jwksTestdata(t, "signing_jwts.json"), &vectors))
	now := time.Now().Unix()
	for _, run := range []struct {
		name  string
		now   int64
		token func(string) string
	}{
		{"as they are", vectors.Now, func(token string) string { return token }},
		{"signed anew", now, newResigner(t, now-vectors.Now)},
	} {
		t.Run(run.name, func(t *testing.T) {
			setClock(t, run.now)
			addr := serveSite(t, signingClient(t), "handle_path /signing-service/* {\n signing_api {\n base_url "+signingBase+"\n mock on\n }\n}")
			for _, c := range vectors.Cases {
				t.Run(c.ID, func(t *testing.T) {
					resp := call(t, addr, http.MethodPost, "/signing-service/signaturerequest", run.token(c.Token), "Content-Type: text/plain")
					if c.Expect == "accept" {
						require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", c.Note, resp.text)
						return
					}
					require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%s: %s", c.Note, resp.text)
					var refusal struct {
						StatusCode     int
						Error, Message string
					}
					require.NoError(t, json.Unmarshal([]byte(resp.text), &refusal))
					require.Equal(t, http.StatusBadRequest, refusal.StatusCode)
					require.Equal(t, "Bad Request", refusal.Error)
					require.NotEmpty(t, refusal.Message)
				})
			}
		})
	}
}

// signatureRequest signs a request for documents.
func (i testIssuer) signatureRequest(t testing.TB, claims map[string]any) string {
	t.Helper()
	all := map[string]any{
		"aud": signingBase, "sub": "555086689106", "algorithm": "RS256",
		"payloads": []map[string]string{{"id": "a", "payload": base64.StdEncoding.EncodeToString([]byte("one"))}},
	}
	for name, value := range claims {
		all[name] = value
	}
	return i.token(t, all)
}

// TestSigningFlow goes from the request to the signatures with the mock, under
// handle_path and at the root, with an access token and without.
func TestSigningFlow(t *testing.T) {
	issuer := issuerOf(t, "test-4096")
	bearer := "Authorization: Bearer " + issuer.token(t, map[string]any{"client_id": "client-1"})
	other := "Authorization: Bearer " + issuer.token(t, map[string]any{"client_id": "client-2"})
	const withToken = "access_token {\n key_set id\n}\n"
	keySet := fmt.Sprintf("key_set id {\n source file %s\n issuer client-1\n}\n", keyFile(t))
	for _, c := range []struct{ name, site, prefix, options string }{
		{"handle_path", "handle_path /signing-service/* {\n%s\n}", "/signing-service", ""},
		{"handle", "handle /signing-service/* {\n%s\n}", "/signing-service", withToken},
		{"root", "%s", "", "retrieve_once on\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api := "signing_api {\n base_url " + signingBase + "\n mock on\n publish_keys on\n" + c.options + "}"
			addr := serveSite(t, keySet+signingClient(t), fmt.Sprintf(c.site, api))
			guarded := c.options == withToken
			application := []string{"X-Request-ID: 60e0b220-8136-4ca5-ae46-1d97ef59d068"}
			if guarded {
				resp := call(t, addr, http.MethodPost, c.prefix+"/signaturerequest", issuer.signatureRequest(t, nil), "Content-Type: text/plain")
				require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				require.Contains(t, resp.text, "ACCESS_DENIED")
				application = append(application, bearer)
			}
			jwt := issuer.signatureRequest(t, nil)
			resp := call(t, addr, http.MethodPost, c.prefix+"/signaturerequest?state=s%26t", jwt, append(application, "Content-Type: text/plain")...)
			require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
			require.Equal(t, "60e0b220-8136-4ca5-ae46-1d97ef59d068", resp.Header.Get("X-Request-Id"))
			var made struct{ Token, RedirectURI string }
			require.NoError(t, json.Unmarshal([]byte(resp.text), &made))
			require.Regexp(t, "^[A-Za-z0-9]{48}$", made.Token)
			require.Equal(t, signingBase+"/client?token="+made.Token, made.RedirectURI)

			result := func(lines ...string) answer {
				return call(t, addr, http.MethodGet, c.prefix+"/signatureresponse/"+made.Token, "", lines...)
			}
			require.Contains(t, result(application...).text, "Signature request has not been downloaded yet")
			resp = call(t, addr, http.MethodGet, c.prefix+"/client?token="+made.Token+"&mock=true", "")
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Contains(t, resp.text, "Pharmacy")
			require.Contains(t, resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
			cookie, _, _ := strings.Cut(resp.Header.Get("Set-Cookie"), ";")
			browser := []string{"Cookie: " + cookie, "Origin: https://sign.example.test", "Sec-Fetch-Site: same-origin"}
			resp = call(t, addr, http.MethodGet, c.prefix+"/signaturerequest/"+made.Token, "", browser...)
			require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
			require.Equal(t, jwt, resp.text)
			resp = call(t, addr, http.MethodPost, c.prefix+"/mock/"+made.Token, "{}", append(browser, "Content-Type: application/json")...)
			require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
			resp = call(t, addr, http.MethodPost, c.prefix+"/signatureresponse/"+made.Token, resp.text, append(browser, "Content-Type: application/json")...)
			require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
			var uploaded struct{ RedirectURI string }
			require.NoError(t, json.Unmarshal([]byte(resp.text), &uploaded))
			back, err := url.Parse(uploaded.RedirectURI)
			require.NoError(t, err)
			require.Equal(t, url.Values{"x": {"1"}, "token": {made.Token}, "state": {"s&t"}}, back.Query())

			if guarded {
				require.Equal(t, http.StatusUnauthorized, result().StatusCode)
				resp = result(other)
				require.Equal(t, http.StatusNotFound, resp.StatusCode)
				require.Contains(t, resp.text, "No signature request for specified token")
			}
			resp = result(application...)
			require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
			require.Contains(t, resp.text, `"signatures":[{"id":"a"`)
			again := result(application...)
			if strings.Contains(c.options, "retrieve_once") {
				require.Equal(t, http.StatusNotFound, again.StatusCode)
			} else {
				require.Equal(t, resp.text, again.text)
			}

			resp = get(t, addr, c.prefix+wellKnownJWKS)
			keys, _, err := jwks.Parse([]byte(resp.text), jwks.Limits{})
			require.NoError(t, err)
			require.Len(t, keys, 5)
			require.Equal(t, http.StatusOK, get(t, addr, c.prefix+"/_ping").StatusCode)
			require.Contains(t, get(t, addr, c.prefix+"/_status").text, `"pass"`)
		})
	}
}

// TestMockOff: with mock off nothing of the mock can be reached.
func TestMockOff(t *testing.T) {
	addr := serveSite(t, signingClient(t), "signing_api {\n base_url https://sign.example.test\n trust_pool inline {\n trust_der "+testAuthority(t)+"\n }\n}")
	issuer := issuerOf(t, "test-4096")
	resp := call(t, addr, http.MethodPost, "/signaturerequest", issuer.signatureRequest(t, map[string]any{"aud": "https://sign.example.test"}), "Content-Type: text/plain")
	require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
	var made struct{ Token string }
	require.NoError(t, json.Unmarshal([]byte(resp.text), &made))
	require.Equal(t, http.StatusForbidden, get(t, addr, "/client?token="+made.Token+"&mock=true").StatusCode)
	resp = get(t, addr, "/client?token="+made.Token)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NotContains(t, strings.ToLower(resp.text), "mock")
	require.Equal(t, http.StatusOK, get(t, addr, "/signaturerequest/"+made.Token).StatusCode)
	resp = call(t, addr, http.MethodPost, "/mock/"+made.Token, "{}", "Content-Type: application/json")
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	require.Contains(t, resp.text, `"Not Found"`)
}

// TestSigningApart: what one signing API accepted, another one on the same
// storage knows nothing of, though it is laxer.
func TestSigningApart(t *testing.T) {
	issuer := issuerOf(t, "test-4096")
	authority := testAuthority(t)
	addr := serveSite(t, signingClient(t), `
	handle_path /strict/* {
		signing_api {
			base_url https://sign.example.test/strict
			trust_pool inline {
				trust_der `+authority+`
			}
		}
	}
	handle_path /lax/* {
		signing_api {
			base_url https://sign.example.test/lax
			mock on
		}
	}`)
	resp := call(t, addr, http.MethodPost, "/strict/signaturerequest", issuer.signatureRequest(t, map[string]any{"aud": "https://sign.example.test/strict"}), "Content-Type: text/plain")
	require.Equal(t, http.StatusOK, resp.StatusCode, resp.text)
	var made struct{ Token string }
	require.NoError(t, json.Unmarshal([]byte(resp.text), &made))
	for _, path := range []string{"/lax/client?token=", "/lax/signaturerequest/", "/lax/signatureresponse/"} {
		require.Equal(t, http.StatusNotFound, get(t, addr, path+made.Token).StatusCode, path)
	}
	for _, path := range []string{"/lax/mock/", "/lax/signatureresponse/"} {
		require.Equal(t, http.StatusNotFound, call(t, addr, http.MethodPost, path+made.Token, "{}", "Content-Type: application/json").StatusCode, path)
	}
	require.Equal(t, http.StatusOK, get(t, addr, "/strict/signaturerequest/"+made.Token).StatusCode)
}
