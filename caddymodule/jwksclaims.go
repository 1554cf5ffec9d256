package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/jwksauth"
	"github.com/signpost-gateway/signpost/jwks"
)

const (
	// tokenVar is where the verified token is kept for the matcher and the
	// placeholders.
	tokenVar = "signpost.token"

	userPlaceholder = "http.auth.user."
	userID          = userPlaceholder + "id"
)

// setToken makes the token's claims known to the matcher and as placeholders.
// When a request passes two checks the later one counts, also when it let the
// request pass without a token (nil).
func setToken(r *http.Request, token *jwks.Token) {
	before := caddyhttp.GetVar(r.Context(), tokenVar)
	caddyhttp.SetVar(r.Context(), tokenVar, token)
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	switch {
	case token != nil:
		// Not by the function below: another check may have set this one.
		subject, _ := jwksauth.ClaimText(token.Claims, "sub")
		repl.Set(userID, subject)
	case before != nil:
		repl.Delete(userID)
	}
	if before != nil {
		return // the function is there
	}
	// Claims are only looked up when something asks for them. One that isn't
	// there is an empty text, and so are all of them without a token: a header
	// must not say `{http.auth.user.name}`.
	repl.Map(func(key string) (any, bool) {
		claim, ok := strings.CutPrefix(key, userPlaceholder)
		if !ok {
			return nil, false
		}
		token := tokenOf(r)
		if token == nil || claim == "id" {
			return "", true
		}
		text, _ := jwksauth.ClaimText(token.Claims, claim)
		return text, true
	})
}

// tokenOf returns the verified token of a request, or nil.
func tokenOf(r *http.Request) *jwks.Token {
	token, _ := caddyhttp.GetVar(r.Context(), tokenVar).(*jwks.Token)
	return token
}
