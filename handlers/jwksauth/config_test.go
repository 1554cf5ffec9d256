package jwksauth

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewRefuses(t *testing.T) {
	verifier := verifierOf(t, testKeys(t))
	for want, c := range map[string]Config{
		"Verifier is required":                       {},
		"a place for tokens has no name":             {From: []TokenSource{{Kind: Header}}},
		"unknown kind of place for tokens: 7":        {From: []TokenSource{{Kind: 7, Name: "x"}}},
		`"X Token" is not a header name`:             {From: []TokenSource{{Kind: Header, Name: "X Token"}}},
		"the header Connection has a meaning":        {From: []TokenSource{{Kind: Header, Name: "connection"}}},
		"the header Cookie has a meaning":            {From: []TokenSource{{Kind: Header, Name: "cookie"}}},
		`"Bearer " is not an authentication scheme`:  {From: []TokenSource{{Kind: Header, Name: "Authorization", Scheme: "Bearer "}}},
		`"a=b" is not the name of a cookie`:          {From: []TokenSource{{Kind: Cookie, Name: "a=b"}}},
		`only headers have schemes`:                  {From: []TokenSource{{Kind: Cookie, Name: "a", Scheme: "Bearer"}}},
		`cookie "a" is configured twice`:             {From: []TokenSource{{Kind: Cookie, Name: "a"}, {Kind: Cookie, Name: "a"}}},
		`query "a" is configured twice`:              {From: []TokenSource{{Kind: Query, Name: "a"}, {Kind: Cookie, Name: "a"}, {Kind: Query, Name: "a"}}},
		`header "Authorization" is configured twice`: {From: []TokenSource{{Name: "authorization", Scheme: "bearer"}, {Name: "Authorization", Scheme: "Bearer"}}},
		`header "X-Token" is configured twice`:       {From: []TokenSource{{Name: "X-Token", Scheme: "Bearer"}, {Name: "X-Token"}}},
		`header "X_token" is configured twice`:       {From: []TokenSource{{Name: "X-Token", Scheme: "A"}, {Name: "X_Token", Scheme: "B"}}},
		`the header "X-A" has no claim to carry`:     {Claims: []ClaimHeader{{Header: "X-A"}}},
		`the claim "sub" has the unknown format 9`:   {Claims: []ClaimHeader{{"sub", "X-A", 9}}},
		`"" is not a header name`:                    {Claims: []ClaimHeader{{"sub", "", Comma}}},
		`"X-Ä" is not a header name`:                 {Claims: []ClaimHeader{{"sub", "X-Ä", Comma}}},
		`"X-A\n" is not a header name`:               {Claims: []ClaimHeader{{"sub", "X-A\n", Comma}}},
		"the header Host has a meaning":              {Claims: []ClaimHeader{{"sub", "host", Comma}}},
		"the header Content-Length has a meaning":    {Claims: []ClaimHeader{{"sub", "content-length", Comma}}},
		"the header Transfer-Encoding has a meaning": {Claims: []ClaimHeader{{"sub", "Transfer-Encoding", Comma}}},
		"the header Te has a meaning":                {Claims: []ClaimHeader{{"sub", "TE", Comma}}},
		"the header Trailer has a meaning":           {Claims: []ClaimHeader{{"sub", "Trailer", Comma}}},
		"the header Upgrade has a meaning":           {Claims: []ClaimHeader{{"sub", "Upgrade", Comma}}},
		"the header Authorization has a meaning":     {Claims: []ClaimHeader{{"sub", "Authorization", Comma}}},
		"the header X_token holds the token":         {From: []TokenSource{{Name: "X-Token"}}, Claims: []ClaimHeader{{"sub", "X_Token", Comma}}},
		"the header X.a can't carry two claims":      {Claims: []ClaimHeader{{"sub", "X-A", Comma}, {"name", "x.a", Comma}}},
		`the realm "a\nb" holds a control character`: {Realm: "a\nb"},
		`the realm "\xff"`:                           {Realm: "\xff"},
	} {
		t.Run(want, func(t *testing.T) {
			if want != "Verifier is required" {
				c.Verifier = verifier
			}
			a, err := New(c)
			require.Nil(t, a)
			require.ErrorContains(t, err, want)
			assert.Contains(t, err.Error(), "jwksauth: ")
		})
	}
}

func TestNewAccepts(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing": {},
		"two schemes of one header": {From: []TokenSource{
			{Name: "Authorization", Scheme: "Bearer"}, {Name: "Authorization", Scheme: "Token"},
		}},
		"all kinds":            {From: []TokenSource{{Name: "x-token"}, {Kind: Cookie, Name: "t"}, {Kind: Query, Name: "t"}}},
		"one claim, two ways":  {Claims: []ClaimHeader{{"roles", "X-Roles", Comma}, {"roles", "X-Roles-JSON", JSON}}},
		"a realm with accents": {Realm: "Zürich"},
	} {
		t.Run(name, func(t *testing.T) {
			c.Verifier = verifierOf(t, testKeys(t))
			_, err := New(c)
			require.NoError(t, err)
		})
	}
}

func TestKinds(t *testing.T) {
	for _, kind := range []SourceKind{Header, Cookie, Query} {
		got, err := ParseSourceKind(kind.String())
		require.NoError(t, err)
		assert.Equal(t, kind, got)
	}
	for _, format := range []Format{Comma, JSON} {
		got, err := ParseFormat(format.String())
		require.NoError(t, err)
		assert.Equal(t, format, got)
	}
	got, err := ParseFormat("")
	require.NoError(t, err)
	assert.Equal(t, Comma, got)
	_, err = ParseSourceKind("")
	require.ErrorContains(t, err, "use header, cookie or query")
	_, err = ParseFormat("xml")
	require.ErrorContains(t, err, "use comma or json")
	assert.Equal(t, "SourceKind(9) Format(9)", SourceKind(9).String()+" "+Format(9).String())
}
