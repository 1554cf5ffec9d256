package client

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
)

// Limits of a request, which every API of the dialect has.
const (
	MaxDocuments = 250
	MaxBytes     = 1 << 20 // of the JWT
	MaxLifetime  = 10 * time.Minute
	MaxState     = 256 // bytes
	MaxName      = 256 // bytes of the client's id, the subject and ids of documents
)

// Request is what a user is to sign.
type Request struct {
	// Subject is the user's id: the request's sub.
	Subject string
	// Algorithm is evidence.RS256 or evidence.RS1. Default, when empty: RS256.
	Algorithm string
	// Documents are what is signed, byte for byte; 1 to 250 with ids that are
	// unique. As base64 of base64 they take 16/9 of their size of the request,
	// which has 1 MiB at most.
	Documents []evidence.Document
	// Single makes the form with the one claim payload, for servers that know
	// no other. There must be one document; its id is not sent.
	Single bool
	// State comes back in the query of the callback: at most 256 bytes of UTF-8.
	// When empty, none is sent.
	State string
	// ExpiresIn is how long the user may take: 1 s to 10 min. Default, when 0:
	// 10 min.
	ExpiresIn time.Duration
}

// Pending is a request that the API has accepted.
type Pending struct {
	// Token is the request's. Whoever holds it can sign, and may be able to
	// read the signatures.
	Token string
	// RedirectURI is where the user's browser is to go.
	RedirectURI string
	// State is that of the request.
	State string
	// Deadline is until when it can be signed.
	Deadline time.Time
}

// Request mints a request and posts it. It is not tried again, as a JWT can be
// posted once only; an answer other than success is an [*Error].
func (c *Client) Request(ctx context.Context, q Request) (*Pending, error) {
	token, deadline, err := c.Mint(q)
	if err != nil {
		return nil, err
	}
	query := ""
	if q.State != "" {
		query = "state=" + url.QueryEscape(q.State)
	}
	var answer struct {
		Token       string `json:"token"`
		RedirectURI string `json:"redirectUri"`
	}
	if err := c.call(ctx, http.MethodPost, "/signaturerequest", query, strings.NewReader(token), &answer); err != nil {
		return nil, err
	}
	page, err := url.Parse(answer.RedirectURI)
	if err != nil || !usable(page) || answer.Token == "" {
		return nil, fmt.Errorf("signing client: the answer is not that of a signing API, it has no token or no redirectUri: is %s the right base URL?", c.config.BaseURL)
	}
	return &Pending{Token: answer.Token, RedirectURI: page.String(), State: q.State, Deadline: deadline}, nil
}

// Mint makes a request's JWT, and says until when it can be used. It refuses
// what no API of the dialect would take.
func (c *Client) Mint(q Request) (token string, deadline time.Time, err error) {
	if q.Algorithm == "" {
		q.Algorithm = evidence.RS256
	}
	if q.ExpiresIn == 0 {
		q.ExpiresIn = MaxLifetime
	}
	if err := c.check(&q); err != nil {
		return "", deadline, fmt.Errorf("signing client: %w", err)
	}
	now := c.config.Now().Truncate(time.Second)
	deadline = now.Add(q.ExpiresIn)
	claims := jwt.MapClaims{
		"iss": c.config.ClientID, "sub": q.Subject, "aud": c.config.Audience,
		"iat": now.Unix(), "exp": deadline.Unix(),
		// Without it two requests of one second for the same documents would be
		// the same JWT, and the second refused as posted again.
		"jti":       uuid.NewString(),
		"algorithm": q.Algorithm,
	}
	if q.Single {
		claims["payload"] = q.Documents[0].Payload
	} else {
		claims["payloads"] = payloads(q.Documents)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodRS512, claims)
	t.Header["kid"] = c.config.KeyID
	signed, err := t.SigningString()
	if err != nil {
		return "", deadline, fmt.Errorf("signing client: %w", err)
	}
	// Not by SignedString, which would insist on a key in this process's memory.
	digest := sha512.Sum512([]byte(signed))
	signature, err := c.config.Key.Sign(rand.Reader, digest[:], crypto.SHA512)
	if err != nil {
		return "", deadline, fmt.Errorf("signing client: signing the request: %w", err)
	}
	token = signed + "." + base64.RawURLEncoding.EncodeToString(signature)
	if len(token) > MaxBytes {
		return "", deadline, fmt.Errorf("signing client: the request would have %d bytes, more than the %d that a signing API takes: ask for fewer or smaller documents at once", len(token), MaxBytes)
	}
	return token, deadline, nil
}

// payload is a document in the JWT; JSON makes standard base64 of bytes.
type payload struct {
	ID      string `json:"id"`
	Payload []byte `json:"payload"`
}

func payloads(documents []evidence.Document) []payload {
	all := make([]payload, len(documents))
	for i, d := range documents {
		all[i] = payload{d.ID, d.Payload}
	}
	return all
}

func (c *Client) check(q *Request) error {
	switch {
	case c.config.Key == nil:
		return errors.New("a Key is required to sign requests with")
	case c.config.KeyID == "":
		return errors.New("a KeyID is required: under which kid does the API know the key?")
	case q.Algorithm != evidence.RS256 && q.Algorithm != evidence.RS1:
		return fmt.Errorf("the algorithm is %q, expected %s or %s", q.Algorithm, evidence.RS256, evidence.RS1)
	case q.ExpiresIn < time.Second || q.ExpiresIn > MaxLifetime:
		return fmt.Errorf("the user can't be given %s to sign: it must be 1s to %s", q.ExpiresIn, MaxLifetime)
	case len(q.State) > MaxState || !utf8.ValidString(q.State):
		return fmt.Errorf("the state must be UTF-8 of at most %d bytes", MaxState)
	}
	if err := checkName("the client's id", c.config.ClientID); err != nil {
		return err
	}
	if err := checkName("the subject", q.Subject); err != nil {
		return err
	}
	return checkDocuments(q.Documents, q.Single)
}

func checkDocuments(documents []evidence.Document, single bool) error {
	switch {
	case len(documents) == 0:
		return errors.New("there is no document to sign")
	case single && len(documents) > 1:
		return fmt.Errorf("the form with one payload can't hold %d documents", len(documents))
	case len(documents) > MaxDocuments:
		return fmt.Errorf("there are %d documents, more than the %d that a signing API takes at once", len(documents), MaxDocuments)
	}
	seen := make(map[string]bool, len(documents))
	size := 0
	for i, d := range documents {
		if !single {
			if err := checkName(fmt.Sprintf("the id of document %d", i+1), d.ID); err != nil {
				return err
			}
			if seen[d.ID] {
				return fmt.Errorf("two documents have the id %q", d.ID)
			}
			seen[d.ID] = true
		}
		if len(d.Payload) == 0 {
			return fmt.Errorf("document %d (%q) is empty: there is nothing to sign", i+1, d.ID)
		}
		if size += len(d.Payload); size > MaxBytes {
			return fmt.Errorf("the documents have more than %d bytes, and a request as long as that is none that a signing API takes: ask for fewer or smaller ones at once", MaxBytes)
		}
	}
	return nil
}

func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case len(name) > MaxName:
		return fmt.Errorf("%s is longer than %d bytes", what, MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%s is not valid UTF-8", what)
	}
	return nil
}
