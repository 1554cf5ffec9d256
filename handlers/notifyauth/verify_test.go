package notifyauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// forge signs any header and claims text.
func forge(t testing.TB, header, claims, secret string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := jwt.SigningMethodHS256.Sign(input, []byte(secret))
	require.NoError(t, err)
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func macOf(t testing.TB, data string) string {
	t.Helper()
	return key(t, "", testSecret).text([]byte(data))
}

func withToken(method, path, token string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

const goodHeader = `{"typ":"JWT","alg":"HS256"}`

func TestTokenRules(t *testing.T) {
	req := macOf(t, "GET /p")
	iss := `"iss":"` + testService + `"`
	good := fmt.Sprintf(`{%s,"iat":%d,"req":%q}`, iss, testNow, req)
	with := func(extra string) string { return good[:len(good)-1] + "," + extra + "}" }
	iat := func(value string) string { return fmt.Sprintf(`{%s,"iat":%s,"req":%q}`, iss, value, req) }
	v := verifier(t, Config{})
	for _, c := range []struct {
		name, header, claims string
		want                 Code
		message              string
	}{
		{"good", goodHeader, good, "", ""},
		{"no typ", `{"alg":"HS256"}`, good, "", ""},
		{"typ in lower case", `{"alg":"HS256","typ":"jwt"}`, good, "", ""},
		{"other typ", `{"alg":"HS256","typ":"at+jwt"}`, good, "token_typ", "signature"},
		{"jku is ignored", `{"alg":"HS256","jku":"https://evil.example"}`, good, "", ""},
		{"kid is ignored", `{"alg":"HS256","kid":"../../etc/passwd"}`, good, "", ""},
		{"alg none", `{"alg":"none"}`, good, CodeAlgorithm, "signature"},
		{"alg in lower case", `{"alg":"hs256"}`, good, CodeAlgorithm, "signature"},
		{"alg RS512", `{"alg":"RS512"}`, good, CodeAlgorithm, "signature"},
		{"no alg", `{"typ":"JWT"}`, good, "token_alg", "signature"},
		{"crit", `{"alg":"HS256","crit":["exp"]}`, good, "token_crit", "signature"},
		{"b64", `{"alg":"HS256","b64":false}`, good, "token_crit", "signature"},
		{"duplicate iat", goodHeader, with(`"iat":1`), "token_duplicate", "signature"},
		{"case twin", goodHeader, with(`"IAT":1`), "token_case_twin", "signature"},
		{"trailing bytes", goodHeader, good + "x", "token_syntax", "signature"},
		{"invalid UTF-8", goodHeader, with("\"x\":\"\xff\""), "token_utf8", "signature"},
		{"array", goodHeader, "[]", "token_not_object", "signature"},
		{"escapes, as PHP writes them", goodHeader, fmt.Sprintf(`{%s,"iat":%d,"req":"%s"}`, iss, testNow, strings.ReplaceAll(strings.ReplaceAll(req, "/", `\/`), "=", `\u003d`)), "", ""},
		{"req with a line break", goodHeader, fmt.Sprintf(`{%s,"iat":%d,"req":"%s"}`, iss, testNow, req[:43]+`\n`), CodeReqMissing, "request"},
		{"other members", goodHeader, with(`"sub":"x","jti":{"a":[1]}`), "", ""},
		{"no iss", goodHeader, fmt.Sprintf(`{"iat":%d,"req":%q}`, testNow, req), CodeIssMissing, "signature"},
		{"iss null", goodHeader, fmt.Sprintf(`{"iss":null,"iat":%d,"req":%q}`, testNow, req), CodeIssType, "signature"},
		{"iss empty", goodHeader, fmt.Sprintf(`{"iss":"","iat":%d,"req":%q}`, testNow, req), CodeIssType, "signature"},
		{"iss unknown", goodHeader, fmt.Sprintf(`{"iss":"x","iat":%d,"req":%q}`, testNow, req), CodeUnknownService, "signature"},
		{"iss very long", goodHeader, fmt.Sprintf(`{"iss":%q,"iat":%d}`, strings.Repeat("x", 4000), testNow), CodeUnknownService, "signature"},
		{"iat missing", goodHeader, fmt.Sprintf(`{%s,"req":%q}`, iss, req), CodeIatMissing, "signature"},
		{"iat text", goodHeader, iat(`"1453680000"`), CodeIatType, "signature"},
		{"iat null", goodHeader, iat(`null`), CodeIatType, "signature"},
		{"iat negative", goodHeader, iat(`-1`), CodeIatType, "signature"},
		{"iat beyond 2^53", goodHeader, iat(`9007199254740993`), CodeIatType, "signature"},
		{"iat 1e400", goodHeader, iat(`1e400`), CodeIatType, "signature"},
		{"iat float", goodHeader, iat(`1453680000.0`), "", ""},
		{"iat with exponent", goodHeader, iat(`1.45368e9`), "", ""},
		{"30 s old", goodHeader, iat(`1453679970`), "", ""},
		{"31 s old", goodHeader, iat(`1453679969`), CodeIatOld, "expired"},
		{"31 s old, fraction", goodHeader, iat(`1453679969.999`), CodeIatOld, "expired"},
		{"30 s ahead", goodHeader, iat(`1453680030`), "", ""},
		{"30.9 s ahead: the fraction is cut off", goodHeader, iat(`1453680030.9`), "", ""},
		{"31 s ahead", goodHeader, iat(`1453680031`), CodeIatFuture, "expired"},
		{"milliseconds", goodHeader, iat(`1453680000000`), CodeIatFuture, "expired"},
		{"exp later", goodHeader, with(`"exp":1453680001`), "", ""},
		{"exp now", goodHeader, with(`"exp":1453680000`), CodeExpPassed, "signature"},
		{"exp text", goodHeader, with(`"exp":"1453680001"`), CodeTimeForm, "signature"},
		{"exp before iat", goodHeader, fmt.Sprintf(`{%s,"iat":1453680010,"exp":1453680005,"req":%q}`, iss, req), CodeTimeForm, "signature"},
		{"nbf within the leeway", goodHeader, with(`"nbf":1453680030`), "", ""},
		{"nbf beyond the leeway", goodHeader, with(`"nbf":1453680031`), CodeNotYet, "signature"},
		{"aud", goodHeader, with(`"aud":"x"`), CodeAudience, "signature"},
		{"req missing", goodHeader, fmt.Sprintf(`{%s,"iat":%d}`, iss, testNow), CodeReqMissing, "request"},
		{"req null", goodHeader, fmt.Sprintf(`{%s,"iat":%d,"req":null}`, iss, testNow), CodeReqMissing, "request"},
		{"req with other spare bits", goodHeader, fmt.Sprintf(`{%s,"iat":%d,"req":%q}`, iss, testNow, req[:42]+string(req[42]+1)+"="), CodeReqMissing, "request"},
		{"req of lower case method", goodHeader, fmt.Sprintf(`{%s,"iat":%d,"req":%q}`, iss, testNow, macOf(t, "get /p")), CodeReq, "request"},
		{"expired beats a bad req", goodHeader, fmt.Sprintf(`{%s,"iat":1,"req":"x"}`, iss), CodeIatOld, "expired"},
		{"pay without a body", goodHeader, with(`"pay":"` + macOf(t, "") + `"`), CodePayUnexpected, "payload"},
		{"pay null without a body", goodHeader, with(`"pay":null`), CodePayUnexpected, "payload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := withToken("GET", "/p", forge(t, c.header, c.claims, testSecret))
			_, release, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
			release()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want, e.Code)
			assert.Equal(t, http.StatusForbidden, e.Status)
			assert.Equal(t, "Invalid token: "+c.message, e.Message(Signed))
			assert.Empty(t, e.Challenge())
			assert.False(t, e.CloseConnection)
		})
	}
}

// TestReference: the other side of the differential fuzz test accepts what is
// good, so that a refusal means something.
func TestReference(t *testing.T) {
	p := newReference(time.Unix(testNow, 0))
	token := mint(t, MintRequest{Method: "POST", Path: "/p", Body: []byte(smallBody)})
	require.NoError(t, p.check(token, testService, testSecret, "POST /p", []byte(smallBody)))
	require.Error(t, p.check(token, testService, testSecret, "POST /p", []byte("x")))
	require.Error(t, p.check(token, testService, testSecret, "POST /q", []byte(smallBody)))
	require.Error(t, p.check(token, testService, "x", "POST /p", []byte(smallBody)))
}

func TestClockOffsetIsReported(t *testing.T) {
	var result Result
	v := verifier(t, Config{Now: clock(testNow + 45), Observe: func(r Result) { result = r }})
	r := get(t, "/p")
	_, _, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
	var e *Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, -45*time.Second, e.ClockOffset)
	assert.Contains(t, e.Error(), "-45 s")
	assert.Equal(t, Result{Code: CodeIatOld, Status: 403, ServiceID: testService, KeyName: "live", ClockOffset: -45 * time.Second}, result)
}

func TestAuthorizationHeader(t *testing.T) {
	v := verifier(t, Config{})
	token := mint(t, MintRequest{Method: "GET", Path: "/p"})
	for _, c := range []struct {
		name  string
		lines []string
		want  Code
	}{
		{"none", nil, CodeNoToken},
		{"empty", []string{""}, CodeNoToken},
		{"two", []string{"Bearer " + token, "Bearer " + token}, CodeManyTokens},
		{"no token", []string{"Bearer"}, CodeScheme},
		{"basic", []string{"Basic " + token}, CodeScheme},
		{"token alone", []string{token}, CodeScheme},
		{"tab", []string{"Bearer\t" + token}, CodeScheme},
		{"good", []string{"Bearer " + token}, ""},
		{"lower case", []string{"bearer " + token}, ""},
		{"upper case", []string{"BEARER " + token}, ""},
		{"two blanks", []string{"Bearer  " + token}, ""},
		{"joined by a comma", []string{"Bearer " + token + ", Bearer " + token}, "token_alphabet"},
		{"short", []string{"Bearer 1234"}, "token_parts"},
		{"long", []string{"Bearer " + strings.Repeat("a", 8193)}, "token_length"},
		{"padding", []string{"Bearer " + token + "="}, "token_alphabet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/p", nil)
			r.Header["Authorization"] = c.lines
			w := httptest.NewRecorder()
			_, release, err := v.Authenticate(w, r, OriginalOf(r))
			release()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			v.WriteError(w, r, err)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want, e.Code)
			unauthorized := c.want == CodeNoToken || c.want == CodeManyTokens || c.want == CodeScheme
			assert.Equal(t, unauthorized, w.Code == http.StatusUnauthorized)
			assert.Equal(t, unauthorized, w.Header().Get("WWW-Authenticate") != "")
		})
	}
}

func TestKeys(t *testing.T) {
	const other = "another-secret-of-the-same-service"
	service := &Service{ID: testService, Keys: []*Key{
		key(t, "old", "revoked-secret", WithRevoked(true)), key(t, "new", other, WithType(KeyTeam)), key(t, "live", testSecret),
	}}
	v := verifier(t, Config{Services: StaticServices(service)})
	for secret, want := range map[string]Code{other: "", testSecret: "", "revoked-secret": CodeSignature, "nobody's": CodeSignature} {
		r := withToken("GET", "/p", mint(t, MintRequest{Method: "GET", Path: "/p", Secret: secret}))
		assert.Equal(t, want, code(t, v, r), secret)
	}
	// The error is that of the key whose signature verified, whichever comes first.
	r := withToken("GET", "/p", mint(t, MintRequest{Method: "GET", Path: "/q", Secret: other}))
	assert.Equal(t, CodeReq, code(t, v, r))

	r = withToken("GET", "/p", mint(t, MintRequest{Method: "GET", Path: "/p", Secret: other}))
	id, _, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
	require.NoError(t, err)
	assert.Equal(t, "new", id.KeyName)
	assert.Equal(t, KeyTeam, id.KeyType)

	// req made with another key of the service than the token.
	claims := fmt.Sprintf(`{"iss":%q,"iat":%d,"req":%q}`, testService, testNow, macOf(t, "GET /p"))
	assert.Equal(t, CodeReq, code(t, v, withToken("GET", "/p", forge(t, goodHeader, claims, other))))
}

func TestUnknownAndForeignServicesLookLikeWrongSignatures(t *testing.T) {
	services := StaticServices(oneService(t), &Service{ID: "none"}, &Service{ID: "gone", Archived: true, Keys: []*Key{key(t, "k", testSecret)}}, &Service{ID: "foreign", Keys: []*Key{key(t, "k", testSecret)}})
	v := verifier(t, Config{Services: services, Allow: []string{testService, "none", "gone"}})
	var answers []string
	for service, want := range map[string]Code{
		testService: CodeSignature, "unknown": CodeUnknownService, "none": CodeNoKeys, "gone": CodeArchived, "foreign": CodeUnknownService,
	} {
		secret := testSecret
		if service == testService {
			secret = "wrong"
		}
		r := withToken("GET", "/p", mint(t, MintRequest{Service: service, Secret: secret, Method: "GET", Path: "/p"}))
		w := httptest.NewRecorder()
		_, _, err := v.Authenticate(w, r, OriginalOf(r))
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, want, e.Code, service)
		v.WriteError(w, r, err)
		answers = append(answers, fmt.Sprint(w.Code, w.Header(), w.Body))
	}
	for _, answer := range answers {
		assert.Equal(t, answers[0], answer)
	}
}

// TestRefusalsCostTheSameMACs counts MACs instead of measuring time: those of
// an unknown service, and of a known one whose keys are fewer, reach the
// number of the service with the most keys.
func TestRefusalsCostTheSameMACs(t *testing.T) {
	many := &Service{ID: "many", Keys: []*Key{key(t, "1", "s1"), key(t, "2", "s2"), key(t, "3", "s3"), key(t, "0", "s0", WithRevoked(true))}}
	one := oneService(t)
	v := verifier(t, Config{Services: StaticServices(many, one)})
	assert.Equal(t, 1, v.decoys(0), "nothing is known yet")
	wrong := func(service string) *http.Request {
		return withToken("GET", "/p", mint(t, MintRequest{Service: service, Secret: "wrong", Method: "GET", Path: "/p"}))
	}
	assert.Equal(t, CodeSignature, code(t, v, wrong("many")))
	tried := func(s *Service) int {
		h := head{service: s}
		return h.findKey([]byte("x.y"), &scratch{sig: make([]byte, macSize)}, false, v.now)
	}
	want := tried(many)
	assert.Equal(t, 3, want)
	assert.Equal(t, want, v.decoys(0))
	assert.Equal(t, want, tried(one)+v.decoys(tried(one)))
	assert.Equal(t, CodeUnknownService, code(t, v, wrong("unknown")))

	crowd := &Service{ID: "crowd"}
	for i := range 100 {
		crowd.Keys = append(crowd.Keys, key(t, "k", fmt.Sprint(i)))
	}
	v = verifier(t, Config{Services: StaticServices(crowd)})
	assert.Equal(t, CodeSignature, code(t, v, wrong("crowd")))
	assert.Equal(t, maxDecoys, v.decoys(0), "a refusal's work is bounded")
}

func TestTechnicalFaultsAre503(t *testing.T) {
	broken := errors.New("disk on fire")
	v := verifier(t, Config{Services: ServicesFunc(func(context.Context, string) (*Service, error) { return nil, broken })})
	r := get(t, "/p")
	w := httptest.NewRecorder()
	v.Middleware(http.NotFoundHandler()).ServeHTTP(w, r)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "5", w.Header().Get("Retry-After"))
	assert.NotContains(t, w.Body.String(), "fire")
	assert.Empty(t, w.Header().Get("WWW-Authenticate"))

	_, _, err := v.Authenticate(w, get(t, "/p"), OriginalOf(r))
	assert.ErrorIs(t, err, broken)
}

func TestV2(t *testing.T) {
	const foreign = "11111111-2222-4333-8444-555555555555"
	const empty, gone = "22222222-2222-4333-8444-555555555555", "33333333-2222-4333-8444-555555555555"
	service := oneService(t)
	service.Keys = append(service.Keys, key(t, "old", "revoked-secret", WithRevoked(true)))
	v := verifier(t, Config{Dialect: V2, Services: StaticServices(service, &Service{ID: empty}, &Service{ID: gone, Archived: true, Keys: service.Keys})})
	claims := func(iss, rest string) string { return fmt.Sprintf(`{"iss":%q,%s}`, iss, rest) }
	now := fmt.Sprintf(`"iat":%d`, testNow)
	const generic = "Invalid token: make sure your API token matches the example at https://docs.notifications.service.gov.uk/rest-api.html#authorisation-header"
	const clock = "Error: Your system clock must be accurate to within 30 seconds"
	for _, c := range []struct {
		name, header, claims, secret, want string
	}{
		{"good", goodHeader, claims(testService, now), testSecret, ""},
		{"req and pay are ignored", goodHeader, claims(testService, now+`,"req":1,"pay":"x"`), testSecret, ""},
		{"upper case iss", goodHeader, claims(strings.ToUpper(testService), now), testSecret, ""},
		{"duplicate", goodHeader, claims(testService, now+`,"iat":1`), testSecret, generic},
		{"no iss", goodHeader, "{" + now + "}", testSecret, "Invalid token: iss field not provided"},
		{"iss a number", goodHeader, `{"iss":5,` + now + "}", testSecret, "Invalid token: service id is not the right data type"},
		{"iss no UUID", goodHeader, claims("x", now), testSecret, "Invalid token: service id is not the right data type"},
		{"unknown", goodHeader, claims(foreign, now), testSecret, "Invalid token: service not found"},
		{"no keys", goodHeader, claims(empty, now), testSecret, "Invalid token: service has no API keys"},
		{"archived", goodHeader, claims(gone, now), testSecret, "Invalid token: service is archived"},
		{"alg", `{"alg":"HS512"}`, claims(testService, now), testSecret, "Invalid token: algorithm used is not HS256"},
		{"alg missing", `{}`, claims(testService, now), testSecret, "Invalid token: algorithm used is not HS256"},
		{"unknown beats alg", `{"alg":"HS512"}`, claims(foreign, now), testSecret, "Invalid token: service not found"},
		{"old", goodHeader, claims(testService, `"iat":1453679969`), testSecret, clock},
		{"ahead", goodHeader, claims(testService, `"iat":1453680031`), testSecret, clock},
		{"iat text", goodHeader, claims(testService, `"iat":"x"`), testSecret, clock},
		{"old, but another's", goodHeader, claims(testService, `"iat":1`), "wrong", "Invalid token: API key not found"},
		{"nbf", goodHeader, claims(testService, now+`,"nbf":1453680031`), testSecret, clock},
		{"exp", goodHeader, claims(testService, now+`,"exp":1453680000`), testSecret, generic},
		{"aud", goodHeader, claims(testService, now+`,"aud":"x"`), testSecret, generic},
		{"iat missing", goodHeader, `{"iss":"` + testService + `"}`, testSecret, "Invalid token: API key not found"},
		{"wrong key", goodHeader, claims(testService, now), "wrong", "Invalid token: API key not found"},
		{"revoked", goodHeader, claims(testService, now), "revoked-secret", "Invalid token: API key revoked"},
		{"revoked and old", goodHeader, claims(testService, `"iat":1`), "revoked-secret", clock},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := withToken("POST", "/any/path", forge(t, c.header, c.claims, c.secret))
			w := httptest.NewRecorder()
			v.Middleware(new(seen)).ServeHTTP(w, r)
			if c.want == "" {
				assert.Equal(t, http.StatusOK, w.Code, w.Body)
				return
			}
			want, err := json.Marshal(map[string]any{"status_code": 403, "errors": []map[string]string{{"error": "AuthError", "message": c.want}}})
			require.NoError(t, err)
			assert.Equal(t, http.StatusForbidden, w.Code)
			assert.JSONEq(t, string(want), w.Body.String())
		})
	}
	w := httptest.NewRecorder()
	v.Middleware(new(seen)).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	assert.Equal(t, http.StatusUnauthorized, w.Code)
	assert.Equal(t, `{"status_code":401,"errors":[{"error":"AuthError","message":"Unauthorized: authentication token must be provided"}]}`, w.Body.String())
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Basic x")
	w = httptest.NewRecorder()
	v.Middleware(new(seen)).ServeHTTP(w, r)
	assert.Contains(t, w.Body.String(), "Unauthorized: authentication bearer scheme must be used")
}

// A revoked key is remembered for a week, one without a time for ever.
func TestV2Forgets(t *testing.T) {
	const other = "11111111-2222-4333-8444-555555555555"
	revoked := func(ago time.Duration) *Key {
		return key(t, "old", "revoked-secret", WithRevokedAt(time.Unix(testNow, 0).Add(-ago)))
	}
	const forgotten = "Invalid token: API key not found"
	for _, c := range []struct {
		ago  time.Duration
		want string
	}{
		{0, "Invalid token: API key revoked"},
		{7*24*time.Hour - time.Second, "Invalid token: API key revoked"},
		{7*24*time.Hour + time.Second, forgotten},
	} {
		service := oneService(t)
		service.Keys = append(service.Keys, revoked(c.ago))
		v := verifier(t, Config{Dialect: V2, Services: StaticServices(service, &Service{ID: other, Keys: []*Key{revoked(c.ago)}})})
		ask := func(iss string) string {
			r := withToken("POST", "/x", forge(t, goodHeader, fmt.Sprintf(`{"iss":%q,"iat":%d}`, iss, testNow), "revoked-secret"))
			_, _, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
			var fault *Error
			require.ErrorAs(t, err, &fault)
			return fault.Message(V2)
		}
		assert.Equal(t, c.want, ask(testService), c.ago)
		if c.want == forgotten {
			assert.Equal(t, "Invalid token: service has no API keys", ask(other))
		} else {
			assert.Equal(t, c.want, ask(other))
		}
	}
	assert.False(t, key(t, "k", "s", WithRevokedAt(time.Time{})).Revoked())
}

func TestV2BodyIsBufferedOnDemand(t *testing.T) {
	budget := NewBudget(40)
	v := verifier(t, Config{Dialect: V2, MaxBody: 10, BufferBody: true, BufferFactor: 2, Buffers: budget})
	post := func(body string, length int64) (*http.Request, func(), error) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.ContentLength = length
		r.Header.Set("Authorization", "Bearer "+mint(t, MintRequest{Dialect: V2}))
		_, release, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
		return r, release, err
	}
	for _, length := range []int64{10, -1} {
		r, release, err := post("0123456789", length)
		require.NoError(t, err)
		assert.EqualValues(t, 20, budget.Used())
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		assert.Equal(t, "0123456789", string(body))
		release()
		assert.Zero(t, budget.Used())
	}
	for _, c := range []struct {
		body   string
		length int64
		want   Code
	}{
		{"", 0, ""},
		{"", -1, ""},
		{"0123456789x", 11, CodeTooLarge},
		{"0123456789x", -1, CodeTooLarge},
		{"012", 5, CodeBodyRead},
		{"012345", 5, CodeBodyRead},
	} {
		_, release, err := post(c.body, c.length)
		if c.want == "" {
			require.NoError(t, err)
		} else {
			var fault *Error
			require.ErrorAs(t, err, &fault)
			assert.Equal(t, c.want, fault.Code, c.body)
		}
		release()
		assert.Zero(t, budget.Used(), c.body)
	}
	_, release, err := post("0123456789", 10)
	require.NoError(t, err)
	_, release2, err := post("0123456789", 10)
	require.NoError(t, err)
	_, _, err = post("0", 1)
	var fault *Error
	require.ErrorAs(t, err, &fault)
	assert.Equal(t, CodeBusy, fault.Code)
	release()
	release2()
	assert.Zero(t, budget.Used())
}

// TestV2Target: v2 signs no path, but what follows routes by it.
func TestV2Target(t *testing.T) {
	for _, c := range []struct {
		query  QueryPolicy
		target string
		status int
	}{
		{QueryRefuse, "/api/a", 200},
		{QueryRefuse, "/a", 403},
		{QueryRefuse, "/api/a?x=1", 403},
		{QueryUnsigned, "/api/a?x=1", 200},
		{QueryUnsigned, "/api//a", 403},
		{QueryUnsigned, "/api/%2e%2e/a", 403},
	} {
		v := verifier(t, Config{Dialect: V2, BasePath: "/api", Query: c.query})
		w := httptest.NewRecorder()
		ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		v.Middleware(ok).ServeHTTP(w, withToken("GET", c.target, mint(t, MintRequest{Dialect: V2})))
		assert.Equal(t, c.status, w.Code, c.target)
	}
	_, err := New(Config{Services: StaticServices(), Dialect: V2, Query: QuerySigned})
	require.Error(t, err)
}

func TestV2BodyIsLimitedButNotBuffered(t *testing.T) {
	v := verifier(t, Config{Dialect: V2, MaxBody: 10})
	token := mint(t, MintRequest{Dialect: V2})
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 11)))
	r.Header.Set("Authorization", "Bearer "+token)
	assert.Equal(t, CodeTooLarge, code(t, v, r))

	r = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 11)))
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer "+token)
	require.Empty(t, code(t, v, r))
	_, err := r.Body.Read(make([]byte, 20))
	var tooLarge *http.MaxBytesError
	assert.ErrorAs(t, err, &tooLarge)
}
