package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/jwks"
)

// policyFlags say what a verifier asks of tokens, in the words of jwks_auth.
type policyFlags struct {
	cmd                        *cobra.Command
	issuer, at, revoked        *string
	audience, algorithms, typs *[]string
	require                    *[]string
	minBits                    *int
	leeway, maxLifetime        *time.Duration
}

func addPolicyFlags(cmd *cobra.Command) policyFlags {
	f := cmd.Flags()
	return policyFlags{
		cmd:         cmd,
		issuer:      f.String("issuer", "", "Whose keys these are: what iss must be (default: any)"),
		audience:    f.StringArray("audience", nil, "What aud must be or hold, repeatable (default: any)"),
		algorithms:  f.StringArray("alg", []string{jwks.DefaultAlgorithm}, "An algorithm that is allowed, repeatable"),
		typs:        f.StringArray("typ", nil, `A typ that is accepted, repeatable, "" for none (default: none, JWT and at+jwt)`),
		require:     f.StringArray("require", []string{"exp"}, `A claim that must be there, repeatable; "" requires none`),
		minBits:     minBitsFlag(cmd),
		leeway:      f.Duration("leeway", jwks.DefaultLeeway, "How far iat and nbf may lie in the future"),
		maxLifetime: f.Duration("max-lifetime", 0, "How far exp may lie in the future (default: any)"),
		revoked:     f.String("revoked", "", "A file of revoked token ids and subjects"),
		at:          f.String("at", "", "The verifier's time, as seconds since 1970 or RFC 3339 (default: now)"),
	}
}

// config is that of a verifier with these keys; nil checks no signatures.
func (p policyFlags) config(keys jwks.KeySource) (jwks.Config, error) {
	if err := checkMinBits(*p.minBits); err != nil {
		return jwks.Config{}, err
	}
	c := jwks.Config{
		Bindings: []jwks.Binding{{Issuer: *p.issuer, Keys: keys}},
		Policy: jwks.Policy{
			Algorithms: *p.algorithms, MinKeyBits: *p.minBits, Types: *p.typs, Audience: *p.audience,
			Require: slices.DeleteFunc(slices.Clone(*p.require), func(s string) bool { return s == "" }),
			Leeway:  *p.leeway, MaxLifetime: *p.maxLifetime,
		},
	}
	if *p.leeway == 0 {
		c.Policy.Leeway = -1 // none; 0 stands for the default
	}
	if *p.revoked != "" {
		list, err := jwks.NewRevocationFile(*p.revoked, nil)
		if err != nil {
			return c, err
		}
		c.Revoked = list
	}
	at, err := atFlag(*p.at)
	c.Now = func() time.Time { return at }
	return c, err
}

func jwtExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain <token|-> [--keys <url|file>] [--issuer <iss>] [--audience <aud>]...",
		Short: "Says which check of a token fails and why",
		Long: `Checks a token as jwks_auth does and says in plain words what each check finds:
the token's form, its algorithm, its key, its signature, its times and whom it
is for. The token may be the whole value of the Authorization header, and comes
from standard input with "-".

The flags are the options of jwks_auth, with the same defaults. Without --keys
everything but the signature is checked. Nothing is sent but the request for
the keys, when --keys is a URL. Of the token's contents only the header, iss,
aud and times are shown.

Exit status 1 means that the token would be refused.`,
		Example: `  caddy signpost jwt explain "$TOKEN" --keys https://id.example.org/jwks.json --issuer https://id.example.org`,
		Args:    cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	keys := f.String("keys", "", "The key set: a URL, or a file with a JWK set, a JWK or PEM")
	caCert := caCertFlag(cmd)
	policy := addPolicyFlags(cmd)
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		token := args[0]
		if token == "-" && *keys == "-" {
			return errors.New("only one of the token and --keys can be read from standard input")
		}
		if token == "-" {
			text, err := readInput(cmd, token)
			if err != nil {
				return err
			}
			token = string(text)
		}
		var source jwks.KeySource
		if *keys != "" {
			var err error
			if source, err = givenKeys(cmd, *keys, *caCert); err != nil {
				return fmt.Errorf("--keys: %w", err)
			}
		}
		config, err := policy.config(source)
		if err != nil {
			return err
		}
		ctx, cancel := commandContext(cmd, keysTimeout)
		defer cancel()
		report, err := jwks.Explain(ctx, jwks.ExplainRequest{Token: tokenAlone(token), Config: config})
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			if err := printJSON(w, report); err != nil {
				return err
			}
		} else {
			fmt.Fprint(w, report)
		}
		if report.Code != "" {
			cmd.SilenceUsage, cmd.SilenceErrors = true, true
			return errors.New("refused")
		}
		return nil
	}
	return cmd
}

// givenKeys makes a set of what a URL or a file holds, so that a report can say
// why a key isn't used.
func givenKeys(cmd *cobra.Command, where, caCert string) (jwks.KeySource, error) {
	text, err := readKeys(cmd, where, caCert)
	if err != nil {
		return nil, err
	}
	source, err := jwks.NewInline(text)
	if err != nil {
		return nil, err
	}
	return jwks.NewSet(jwks.SetConfig{Name: where, Sources: []jwks.Source{source}})
}

// tokenAlone takes a token out of the Authorization header that it came in.
func tokenAlone(text string) string {
	text = strings.TrimSpace(text)
	for _, before := range [...]string{"Authorization:", "Bearer "} {
		if len(text) >= len(before) && strings.EqualFold(text[:len(before)], before) {
			text = strings.TrimSpace(text[len(before):])
		}
	}
	return text
}
