package caddymodule

import (
	"crypto/x509"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/signing/page"
)

// parseSigningAPI reads the directive, see UnmarshalCaddyfile.
func parseSigningAPI(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	m := new(SigningAPI)
	return m, m.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	signing_api [<matcher>] {
//		base_url                <url>
//		profile                 strict|documented|int2022
//		signature_algorithms    RS256|RS1...
//		min_key_bits            <bits>
//		min_card_key_bits       <bits>
//		leeway                  <duration>
//		max_body                <size>
//		max_buffered            <size>
//		mock                    on|off
//		hub                     url <address> | nhs
//		trust_pool              <module> ...
//		subject_from            cn_prefix|serial_number|off
//		require_non_repudiation on|off
//		revocation              off|soft|hard
//		allow_private           <host|address|cidr>...
//		access_token            { ... }
//		publish_keys            on|off
//		retention               <duration>
//		retrieve_once           on|off
//		rate_limit              <requests a minute>
//	}
func (s *SigningAPI) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := s.unmarshalOption(d); err != nil {
			return err
		}
	}
	return s.check(d)
}

// check finds what the API would refuse, so that the error has file and line.
func (s *SigningAPI) check(d *caddyfile.Dispenser) error {
	cfg, err := s.config()
	switch {
	case err != nil:
		return d.Err(err.Error())
	case s.TrustPoolRaw == nil && !s.Mock:
		return d.Err("signing_api needs a trust_pool: whose certificates may users sign with? (Only `mock on` can do without.)")
	}
	if strings.Contains(cfg.BaseURL, "{") {
		cfg.BaseURL = "https://placeholder.invalid"
	}
	// What comes from elsewhere is only asked whether it is there.
	cfg.Store, cfg.Clients = struct{ signing.Store }{}, struct{ signing.Clients }{}
	cfg.Evidence, cfg.Page = new(evidence.Verifier), new(page.Page)
	if s.Mock {
		cfg.Mock = new(evidence.Mock)
	}
	if _, err := signing.New(cfg); err != nil {
		return d.Err(err.Error())
	}
	e := s.evidence()
	e.Roots = x509.NewCertPool()
	if _, err := evidence.New(e); err != nil {
		return d.Err(err.Error())
	}
	return nil
}

func (s *SigningAPI) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "base_url":
		return textOption(d, &s.BaseURL)
	case "profile":
		return wordOption(d, &s.Profile, "strict", "documented", "int2022")
	case "signature_algorithms":
		return wordsOption(d, &s.SignatureAlgorithms)
	case "min_key_bits":
		return countOption(d, &s.MinKeyBits)
	case "min_card_key_bits":
		return countOption(d, &s.MinCardKeyBits)
	case "leeway":
		return durationOption(d, &s.Leeway)
	case "max_body":
		return sizeOption(d, &s.MaxBody)
	case "max_buffered":
		return sizeOption(d, &s.MaxBuffered)
	case "mock":
		return boolOption(d, &s.Mock)
	case "hub":
		return s.unmarshalHub(d)
	case "trust_pool":
		return trustPoolOption(d, &s.TrustPoolRaw)
	case "subject_from":
		return wordOption(d, &s.SubjectFrom, "cn_prefix", "serial_number", "off")
	case "require_non_repudiation":
		return switchOption(d, &s.RequireNonRepudiation)
	case "revocation":
		return wordOption(d, &s.Revocation, "off", "soft", "hard")
	case "allow_private":
		return wordsOption(d, &s.AllowPrivate)
	case "access_token":
		if s.AccessToken != nil {
			return d.Err("access_token is given twice")
		}
		s.AccessToken = new(AccessToken)
		return s.AccessToken.unmarshal(d)
	case "publish_keys":
		return boolOption(d, &s.PublishKeys)
	case "retention":
		return durationOption(d, &s.Retention)
	case "retrieve_once":
		return boolOption(d, &s.RetrieveOnce)
	case "rate_limit":
		return countOption(d, &s.RateLimit)
	}
	return unknownOption(d, "signing_api", "base_url", "profile", "signature_algorithms", "min_key_bits", "min_card_key_bits",
		"leeway", "max_body", "max_buffered", "mock", "hub", "trust_pool", "subject_from", "require_non_repudiation",
		"revocation", "allow_private", "access_token", "publish_keys", "retention", "retrieve_once", "rate_limit")
}

// unmarshalHub reads `hub url <address>` or `hub nhs`.
func (s *SigningAPI) unmarshalHub(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 2 && args[0] == hubKindURL:
		s.Hub = SigningHubAddress{Kind: hubKindURL, URL: args[1]}
	case len(args) == 1 && args[0] == hubKindNHS:
		s.Hub = SigningHubAddress{Kind: hubKindNHS}
	default:
		return d.Err("write `hub url <address>` or `hub nhs`")
	}
	hub, err := s.Hub.hub()
	if err == nil {
		_, err = page.New(page.Config{Hub: hub})
	}
	if err != nil {
		return d.Err(err.Error())
	}
	return nil
}
