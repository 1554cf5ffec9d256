package jwks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Defaults and limits of [Limits].
const (
	DefaultMaxKeys = 1000 // of files and texts that the operator writes
	MaxURLKeys     = 100  // of a server, unless [URLConfig] says otherwise
	// DefaultMaxBytes is room for 1000 RSA keys of 4096 bits and their
	// certificates.
	DefaultMaxBytes = 4 << 20
)

// Limits bound what [Parse] reads.
type Limits struct {
	// MaxKeys is how many keys are read; those after them are skipped.
	// Default, when 0: 1000.
	MaxKeys int
	// MinKeyBits is the smallest RSA modulus, in bits. Default, when 0: 2048;
	// less than that counts as 2048.
	MinKeyBits int
	// MaxBytes is the longest text. Default, when 0: 4 MiB.
	MaxBytes int
	// Issuers reads whose keys these are, from [IssuerMember] of each JWK. Then a
	// kid may be that of several keys, one of each issuer; and as soon as one JWK
	// of a text has the member, those without it are skipped.
	Issuers bool
}

// Skipped is a key that is not used, and why.
type Skipped struct {
	Kid    string `json:"kid,omitempty"`
	Kty    string `json:"kty,omitempty"`
	Reason string `json:"reason"`
}

const expected = "expected a JWK set ({\"keys\": [...]}), a JWK ({\"kty\": ...}), or in PEM a PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE"

// Parse reads public keys: a JWK set or a single JWK (RFC 7517), or one or
// several PEM blocks (PKIX and PKCS #1 public keys, certificates). Of a
// certificate only the key is used: its dates and its issuer are not checked.
//
// A key is skipped and reported when its kty, crv, use, key_ops or alg is none
// that verifies signatures; when it is an RSA key of fewer bits than
// Limits.MinKeyBits or more than 16384, with an even modulus, or an exponent
// that is even or outside 65537 to 2^31; when it holds private or symmetric
// material; when its JSON is no object as package jws wants it; and by the
// rules of [Keys.Unique]. None of that is an error, even when no key is left.
// The error says what was found and what was expected when the text as a whole
// is nothing that holds keys.
func Parse(data []byte, l Limits) (Keys, []Skipped, error) {
	if l.MaxKeys <= 0 {
		l.MaxKeys = DefaultMaxKeys
	}
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	l.MinKeyBits = max(l.MinKeyBits, DefaultMinKeyBits)
	if len(data) > l.MaxBytes {
		return nil, nil, fmt.Errorf("jwks: the text has %d bytes, more than %d", len(data), l.MaxBytes)
	}
	p := parser{limits: l}
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	var err error
	switch {
	case bytes.HasPrefix(text, []byte("{")):
		err = p.document(text)
	case bytes.Contains(text, []byte("-----BEGIN ")):
		err = p.pem(text)
	default:
		err = fmt.Errorf("found %s; %s", describe(text), expected)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("jwks: %w", err)
	}
	if p.beyond > 0 {
		p.skip("", "", fmt.Sprintf("%d more keys are not read: the limit is %d", p.beyond, l.MaxKeys))
	}
	if p.issued {
		p.dropUnissued()
	}
	keys, skipped := p.keys.Unique()
	return keys, append(p.skipped, skipped...), nil
}

// describe names what an operator may have put in the place of keys.
func describe(text []byte) string {
	s := string(text[:min(len(text), 64)])
	switch {
	case s == "":
		return "nothing"
	case strings.HasPrefix(s, "<"):
		return "HTML or XML"
	case strings.HasPrefix(s, "["):
		return "a JSON array"
	case strings.HasPrefix(s, "ssh-"), strings.HasPrefix(s, "ecdsa-"):
		return "an OpenSSH public key (ssh-keygen -e -m PKCS8 -f key.pub converts it)"
	case strings.HasPrefix(s, "eyJ"):
		return "a token"
	case strings.HasPrefix(s, "https://"), strings.HasPrefix(s, "http://"):
		return "an address (use a url source)"
	case strings.HasPrefix(s, "/"), strings.HasPrefix(s, "./"):
		return "what looks like a path (use a file source)"
	case s[0] == 0x30:
		return "what looks like DER (openssl converts it to PEM)"
	case strings.HasPrefix(s, "MII"):
		return "base64 without the lines -----BEGIN ...----- and -----END ...-----"
	default:
		return "neither JSON nor PEM"
	}
}

// parser collects keys.
type parser struct {
	limits  Limits
	seen    int // keys, usable or not
	beyond  int // of them, how many came after the last that may be read
	keys    Keys
	skipped []Skipped
	issued  bool // a JWK says whose it is
}

// dropUnissued skips the keys that could be anybody's, where others are not.
func (p *parser) dropUnissued() {
	p.keys = slices.DeleteFunc(p.keys, func(k *Key) bool {
		if k.Issuer == "" {
			p.skip(k.Kid, k.Kty, "it has no "+IssuerMember+", which other keys of the document have")
		}
		return k.Issuer == ""
	})
}

func (p *parser) skip(kid, kty, reason string) {
	p.skipped = append(p.skipped, Skipped{Kid: clip(kid), Kty: clip(kty), Reason: reason})
}

// next counts a key and reports whether it may be read.
func (p *parser) next() bool {
	if p.seen++; p.seen > p.limits.MaxKeys {
		p.beyond++
		return false
	}
	return true
}

// document reads a JWK set or a JWK. Only the frame is read here, so that one
// bad key doesn't spoil the text.
func (p *parser) document(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return notJSON(err)
	}
	var isSet, isKey bool
	var discovery string
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return notJSON(err)
		}
		if name == "keys" {
			if isSet {
				return errors.New("found a JWK set with two members named keys")
			}
			isSet = true
			if err := p.list(d); err != nil {
				return err
			}
			continue
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return notJSON(err)
		}
		switch name {
		case "kty":
			isKey = true
		case "jwks_uri":
			discovery = " (an OpenID discovery document; its jwks_uri is the address of the keys)"
		}
	}
	if _, err := d.Token(); err != nil {
		return notJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("found more bytes after the JSON text")
	}
	switch {
	case isSet:
		return nil
	case isKey:
		p.seen++
		p.jwk(text)
		return nil
	default:
		return fmt.Errorf("found a JSON object with neither keys nor kty%s; %s", discovery, expected)
	}
}

// list reads the value of keys.
func (p *parser) list(d *json.Decoder) error {
	open, err := d.Token()
	if err != nil {
		return notJSON(err)
	}
	if open != json.Delim('[') {
		return errors.New("found a JWK set whose keys is not an array")
	}
	for d.More() {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return notJSON(err)
		}
		if p.next() {
			p.jwk(raw)
		}
	}
	if _, err := d.Token(); err != nil {
		return notJSON(err)
	}
	return nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("found JSON that is cut short")
	}
	return fmt.Errorf("found broken JSON: %w", err)
}

// clip shortens what comes from a source before it is reported.
func clip(s string) string {
	if len(s) > maxReported {
		s = s[:maxReported]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

const maxReported = 128
