package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/jwks"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// jwtCommand is `caddy signpost jwt`.
func jwtCommand() *cobra.Command {
	return group("jwt", "Signs tokens with a private key, explains tokens", jwtSignCommand(), jwtExplainCommand())
}

// defaultExpiry is how long tokens of jwt sign are valid.
const defaultExpiry = 5 * time.Minute

// claimFlags say what a token claims.
type claimFlags struct {
	cmd       *cobra.Command
	document  *string
	single    *[]string
	iss, sub  *string
	aud       *[]string
	expiresIn *time.Duration
	noExp     *bool
	at        *string
}

func addClaimFlags(cmd *cobra.Command) claimFlags {
	f := cmd.Flags()
	return claimFlags{
		cmd:       cmd,
		document:  f.String("claims", "", "Claims as a JSON object, a file that holds one, or - for standard input"),
		single:    f.StringArray("claim", nil, "A claim as name=text or name:=json, repeatable"),
		iss:       f.String("iss", "", "The issuer"),
		sub:       f.String("sub", "", "The subject"),
		aud:       f.StringArray("aud", nil, "The audience; an array when repeated"),
		expiresIn: f.Duration("expires-in", defaultExpiry, "How long after its time the token ends"),
		noExp:     f.Bool("no-exp", false, "Leave exp out; few verifiers take such a token"),
		at:        f.String("at", "", "The token's time (iat), as seconds since 1970 or RFC 3339 (default: now)"),
	}
}

// claims collects the claims: those of the document, then single ones, then
// those with flags of their own. iat and exp are added where they are not given.
func (c claimFlags) claims() (map[string]any, error) {
	claims := make(map[string]any)
	if *c.document != "" {
		if err := c.readDocument(claims); err != nil {
			return nil, fmt.Errorf("--claims: %w", err)
		}
	}
	for _, text := range *c.single {
		if err := addClaim(claims, text); err != nil {
			return nil, err
		}
	}
	f := c.cmd.Flags()
	if f.Changed("iss") {
		claims["iss"] = *c.iss
	}
	if f.Changed("sub") {
		claims["sub"] = *c.sub
	}
	switch len(*c.aud) {
	case 0:
	case 1:
		claims["aud"] = (*c.aud)[0]
	default:
		claims["aud"] = *c.aud
	}
	return claims, c.addTimes(claims)
}

func (c claimFlags) addTimes(claims map[string]any) error {
	at, err := atFlag(*c.at)
	if err != nil {
		return err
	}
	f := c.cmd.Flags()
	if _, given := claims["iat"]; !given || f.Changed("at") {
		claims["iat"] = at.Unix()
	}
	switch _, given := claims["exp"]; {
	case *c.noExp:
		delete(claims, "exp")
	case *c.expiresIn < time.Second:
		return fmt.Errorf("--expires-in %s: it must be 1s at least", *c.expiresIn)
	case !given || f.Changed("expires-in"):
		claims["exp"] = at.Add(*c.expiresIn).Unix()
	}
	return nil
}

// readDocument reads an object as verifiers do, so that a name that is there
// twice is not lost.
func (c claimFlags) readDocument(into map[string]any) error {
	text := []byte(*c.document)
	if !strings.HasPrefix(strings.TrimSpace(*c.document), "{") {
		var err error
		if text, err = readInput(c.cmd, *c.document); err != nil {
			return err
		}
	}
	err := jws.Object(text, jws.Limits{}, func(name jws.Text, value jws.Value) error {
		into[name.String()] = json.RawMessage(value.Raw)
		return nil
	})
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "jws: "))
	}
	return nil
}

func addClaim(claims map[string]any, text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || name == ":" {
		return fmt.Errorf("--claim %q: write name=text or name:=json", text)
	}
	name, isJSON := strings.CutSuffix(name, ":")
	if !isJSON {
		claims[name] = value
		return nil
	}
	if !json.Valid([]byte(value)) {
		return fmt.Errorf("--claim %q: what follows := is not JSON", text)
	}
	claims[name] = json.RawMessage(value)
	return nil
}

func jwtSignCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign --key <file> [--kid <kid>] [--claim <name>=<value>]...",
		Short: "Signs a token and prints it",
		Long: `Signs a token with a private key (PKCS #8, PKCS #1 or SEC 1 in PEM, or a private
JWK) and prints it. The token gets the current time as iat, and exp 5 minutes
after it, unless it is told otherwise.

The kid is the one of a JWK, or else the key's RFC 7638 thumbprint, as jwks
generate has it; --kid "" leaves it out.`,
		Example: `  curl https://prescriptions.example.org/ -H "Authorization: Bearer $(caddy signpost jwt sign \
    --key 2026-11.key.pem --kid 2026-11 --iss https://id.example.org --sub someone --claim roles:='["admin"]')"`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	keyFile := f.String("key", "", "The file of the private key, or - for standard input")
	kid := f.String("kid", "", "The key's id (default: that of the JWK, or the thumbprint)")
	alg := f.String("alg", "", "The algorithm (default: RS512 for RSA keys, the only one for others)")
	typ := f.String("typ", "JWT", `The header's typ; "" leaves it out`)
	what := addClaimFlags(cmd)
	_ = cmd.MarkFlagRequired("key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *keyFile == "-" && *what.document == "-" {
			return errors.New("only one of --key and --claims can be read from standard input")
		}
		text, err := readInput(cmd, *keyFile)
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		q := jwks.SignRequest{Kid: *kid, Alg: *alg, Typ: *typ}
		if q.Key, err = jwks.ParsePrivateKey(text); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		named := namesOf(text)
		q.Alg = cmp.Or(q.Alg, named.Alg)
		if !f.Changed("kid") {
			public, err := jwks.NewKey("", "", q.Key.Public())
			if err != nil {
				return err
			}
			q.Kid = cmp.Or(named.Kid, public.Thumbprint)
		}
		if q.Claims, err = what.claims(); err != nil {
			return err
		}
		token, err := jwks.Sign(q)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), token)
		return nil
	}
	return cmd
}

// jwkNames are what a JWK says of itself beside its key.
type jwkNames struct{ Kid, Alg string }

// namesOf returns nothing for PEM.
func namesOf(text []byte) (names jwkNames) {
	if json.Unmarshal(text, &names) != nil {
		return jwkNames{}
	}
	return names
}
