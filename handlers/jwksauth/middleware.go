package jwksauth

import (
	"context"
	"net/http"

	"github.com/signpost-gateway/signpost/jwks"
)

type tokenKey struct{}

// WithToken returns a context that carries the verified token.
func WithToken(ctx context.Context, t *jwks.Token) context.Context {
	return context.WithValue(ctx, tokenKey{}, t)
}

// FromContext returns the token that the middleware left in the request's
// context. There is none when the request passed without one.
func FromContext(ctx context.Context) (*jwks.Token, bool) {
	t, ok := ctx.Value(tokenKey{}).(*jwks.Token)
	return t, ok && t != nil
}

// Authenticate verifies the one token of a request. It returns nil and nil for
// a request that may pass without a token and has none. An error is always an
// [*Error]; give it to WriteError.
//
// It changes r in place: the headers of [Config.Claims] that the client sent
// are gone, whatever the outcome, and on success those that the claims give
// are set and the token is removed, unless it is to be forwarded. The body is
// not read, but wrapped, so that the headers are removed from the trailers too
// when it ends.
func (a *Authenticator) Authenticate(r *http.Request) (*jwks.Token, error) {
	a.strip(r)
	token, fault := a.authenticate(r)
	a.report(r.Context(), token, fault)
	if fault != nil {
		return nil, fault
	}
	return token, nil
}

func (a *Authenticator) authenticate(r *http.Request) (*jwks.Token, *Error) {
	f := a.find(r)
	switch {
	case f.count > 1:
		return nil, a.refuse(CodeManyTokens, nil)
	case f.count == 0:
		if a.optional || a.preflight && isPreflight(r) {
			return nil, nil
		}
		return nil, a.refuse(CodeNoToken, nil)
	case f.token == "":
		return nil, a.refuse(CodeEmptyToken, nil)
	}
	token, err := a.verifier.Verify(r.Context(), []byte(f.token))
	if err != nil {
		return nil, verifyError(a.realm, err)
	}
	if err := a.setHeaders(r.Header, token.Claims); err != nil {
		return nil, a.refuse(CodeClaimValue, err)
	}
	if !a.forward {
		f.source.remove(r)
	}
	return token, nil
}

func (a *Authenticator) refuse(code Code, cause error) *Error {
	return newError(code, a.realm, cause)
}

// isPreflight reports whether a browser asks for leave to send a request
// (Fetch standard, section "CORS protocol").
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && one(r.Header["Origin"]) && one(r.Header["Access-Control-Request-Method"])
}

func one(lines []string) bool { return len(lines) == 1 && lines[0] != "" }

// Middleware lets requests through to next that Authenticate accepts, with the
// token in their context, and answers the others by WriteError.
func (a *Authenticator) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := a.Authenticate(r)
		if err != nil {
			a.WriteError(w, r, err)
			return
		}
		if token != nil {
			r = r.WithContext(WithToken(r.Context(), token))
		}
		next.ServeHTTP(w, r)
	})
}
