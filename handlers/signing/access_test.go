package signing

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const accessDenied = `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"forbidden","details":{"coding":[
	{"system":"https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode","version":"1","code":"ACCESS_DENIED","display":"Invalid Access Token"}]}}]}`

// withAccess takes the client's id for its access token.
func withAccess(c *Config) {
	c.AccessToken = func(r *http.Request) (string, error) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case token == "away":
			return "", &AccessError{Unavailable: true, RetryAfter: 7 * time.Second, Err: errors.New("no keys")}
		case token == "broken":
			return "", errors.New("broken")
		case token == "nobody":
			return "", nil
		case !ok:
			return "", &AccessError{}
		case token == "bad":
			return "", &AccessError{Challenge: `Bearer error="invalid_token"`, Err: errors.New("expired")}
		}
		return token, nil
	}
}

func TestAccessToken(t *testing.T) { // G12
	f := newFixture(t, withAccess)
	sent := f.mint(t, nil)
	for authorization, challenge := range map[string]string{"": "Bearer", "Bearer bad": `Bearer error="invalid_token"`, "Bearer nobody": "Bearer"} {
		for _, w := range []interface {
			Result() *http.Response
		}{
			f.post(t, sent, "Authorization", authorization),
			f.call(t, http.MethodPost, "/signaturerequest", strings.Repeat("x", 2<<20), "Authorization", authorization),
			f.result(t, "_", "Authorization", authorization),
		} {
			r := w.Result()
			require.Equal(t, http.StatusUnauthorized, r.StatusCode)
			assert.Equal(t, challenge, r.Header.Get("WWW-Authenticate"))
			assert.Equal(t, "application/json; charset=utf-8", r.Header.Get("Content-Type"))
			body := make([]byte, 4096)
			n, _ := r.Body.Read(body)
			assert.JSONEq(t, accessDenied, string(body[:n]))
			require.NoError(t, r.Body.Close())
		}
	}
	for authorization, wait := range map[string]string{"Bearer away": "7", "Bearer broken": "5"} {
		w := f.post(t, sent, "Authorization", authorization)
		requireRefusal(t, w, 503, "Service temporarily unavailable, try again later")
		assert.Equal(t, wait, w.Header().Get("Retry-After"))
	}
	// Nothing of all that was stored: the JWT is still good.
	require.Equal(t, http.StatusOK, f.post(t, sent, "Authorization", "Bearer client-1").Code)
}

func TestAResponseIsItsClients(t *testing.T) {
	f := newFixture(t, withAccess)
	requireRefusal(t, f.post(t, f.mint(t, nil), "Authorization", "Bearer client-3"), 400,
		`JWT payload is not valid. "iss" is not allowed for this access token`)
	token := tokenOf(t, f.post(t, f.mint(t, nil), "Authorization", "Bearer client-1"))
	stranger := f.result(t, b64("stranger"), "Authorization", "Bearer client-3")
	for _, step := range []func(){
		func() {},
		func() { require.Equal(t, http.StatusOK, f.download(t, token).Code) },
		func() {
			require.Equal(t, http.StatusOK, f.upload(t, token, goodUpload(t, "RS256", "a", "b")).Code)
		},
	} {
		step()
		w := f.result(t, token, "Authorization", "Bearer client-3")
		require.Equal(t, http.StatusNotFound, w.Code)
		assert.Equal(t, stranger.Body.String(), w.Body.String())
		assert.Equal(t, stranger.Header(), w.Header())
	}
	require.Equal(t, http.StatusOK, f.result(t, token, "Authorization", "Bearer client-1").Code)
}

func TestARequestFromBeforeAccessTokens(t *testing.T) {
	assert.Equal(t, "iss", owner(&storage.SigningRequest{Client: "iss"}))
	assert.Equal(t, "bearer", owner(&storage.SigningRequest{Client: "iss", Bearer: "bearer"}))
}

func TestTheBearersRateLimitComesFirst(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		withAccess(c)
		c.RateLimit = 3
	})
	for range 2 {
		require.Equal(t, http.StatusBadRequest, f.post(t, "x", "Authorization", "Bearer client-1").Code)
	}
	require.Equal(t, http.StatusTooManyRequests, f.post(t, "x", "Authorization", "Bearer client-1").Code)
	require.Equal(t, http.StatusBadRequest, f.post(t, "x", "Authorization", "Bearer client-3").Code)
	require.Equal(t, http.StatusOK, f.post(t, f.mint(t, map[string]any{"iss": "client-3"}), "Authorization", "Bearer client-3").Code, "it counts once")
	require.Equal(t, http.StatusTooManyRequests, f.post(t, "x", "Authorization", "Bearer client-3").Code)
}
