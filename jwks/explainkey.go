package jwks

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// issuer checks whose keys may verify the token. When that can't be told, the
// checks after it look among all keys.
func (e *explainer) issuer() {
	const name = "iss"
	if !e.hasClaims {
		e.skip(name, "the claims can't be read")
		return
	}
	sources, fault := e.v.sources(e.token)
	known := quoteAll(slices.Sorted(maps.Keys(e.v.bound)))
	switch {
	case fault == nil:
		e.sources = sources
		switch _, bound := e.v.bound[e.token.Issuer]; {
		case bound:
			e.ok(name, "%s", quote(e.token.Issuer))
		case e.token.Issuer == "":
			e.ok(name, "there is none, and the keys are not bound to an issuer")
		default:
			e.ok(name, "%s; the keys are not bound to an issuer", quote(e.token.Issuer))
		}
	case fault.Code == CodeClaimMissing:
		e.fail(name, fault.Code, "it is missing; the keys are those of %s", known)
	case fault.Code == CodeClaimType:
		e.fail(name, fault.Code, "it is not a string")
	default:
		e.fail(name, fault.Code, "it is %s, but the keys are those of %s", quote(e.token.Issuer), known)
	}
}

// key finds the key and judges whether it is for tokens like this one.
func (e *explainer) key() {
	const name = "key"
	switch {
	case e.keyless:
		e.skip(name, "no keys were given")
		return
	case !e.hasHeader:
		e.skip(name, "the header can't be read")
		return
	}
	kid := e.token.Header.Kid
	if kid == "" && len(e.sources) > 1 {
		e.fail(name, CodeKidMissing, "the header has no kid, and the key may be in any of %d key sets%s", len(e.sources), e.signerText(nil))
		return
	}
	key, err := lookUp(e.ctx, e.sources, kid)
	switch {
	case errors.Is(err, ErrUnknownKid) && kid == "":
		e.fail(name, CodeKidMissing, "the header has no kid, and the set has more than one key%s", e.signerText(nil))
	case errors.Is(err, ErrUnknownKid):
		e.fail(name, CodeUnknownKid, "no usable key has the kid %s%s%s", quote(kid), e.atHand(kid), e.signerText(nil))
	case err != nil:
		e.fail(name, CodeUnavailable, "it can't be looked up now: %s", strings.TrimPrefix(err.Error(), "jwks: "))
	default:
		e.token.Key = key
		e.ok(name, "%s", keyText(key))
		e.keyFits(key)
	}
}

func keyText(k *Key) string {
	text := k.Kty
	if k.Kty == TypeRSA {
		text = fmt.Sprintf("%s of %d bits", k.Kty, k.Bits)
	} else if m := k.public(); m.Crv != "" {
		text += " " + m.Crv
	}
	if k.Alg != "" {
		text += ", for " + k.Alg
	}
	if k.Kid == "" {
		return text + ", which has no kid and is the only one"
	}
	return text
}

func (e *explainer) keyFits(key *Key) {
	alg := e.token.Header.Alg
	switch {
	case key.Alg != "" && key.Alg != alg:
		e.fail("key algorithm", CodeKeyAlgorithm, "the key is for %s only, but the header says %s", key.Alg, quote(alg))
	case !algorithms[alg].fits(key):
		e.fail("key algorithm", CodeKeyAlgorithm, "%s is not for this kind of key", quote(alg))
	default:
		e.ok("key algorithm", "%s is for this kind of key", alg)
	}
	switch least := e.v.policy.MinKeyBits; {
	case key.Kty != TypeRSA:
		e.ok("key size", "the algorithm has one only")
	case key.Bits < least:
		e.fail("key size", CodeKeySize, "%d bits; at least %d are required", key.Bits, least)
	default:
		e.ok("key size", "%d bits; at least %d are required", key.Bits, least)
	}
}

// maxListed is how many key ids are listed.
const maxListed = 8

// atHand says which keys there are instead, and whether the one that is asked
// for was skipped.
func (e *explainer) atHand(kid string) string {
	var ids []string
	for _, source := range e.underlying() {
		if s, ok := source.(interface{ Status() Status }); ok {
			for _, skipped := range s.Status().skipped() {
				if skipped.Kid == kid {
					return ": there is one, but it is not used: " + skipped.Reason
				}
			}
		}
		if s, ok := source.(KeyLister); ok {
			ids = append(ids, s.Keys().ids()...)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	more := ""
	if len(ids) > maxListed {
		ids, more = ids[:maxListed], " and others"
	}
	return "; there are " + quoteAll(ids) + more
}

// skipped returns what is not used of all sources.
func (s Status) skipped() []Skipped {
	all := slices.Clone(s.Conflicts)
	for _, source := range s.Sources {
		all = append(all, source.Skipped...)
	}
	return all
}

// underlying returns the sources as they were given.
func (e *explainer) underlying() []KeySource {
	all := make([]KeySource, 0, len(e.sources))
	for _, source := range e.sources {
		if o, ok := source.(*oneAnswer); ok {
			source = o.source
		}
		all = append(all, source)
	}
	return all
}

func (e *explainer) signature() {
	const name = "signature"
	signature, err := jws.AppendDecode(nil, e.parts.Signature)
	key, alg := e.token.Key, algorithms[e.token.Header.Alg]
	switch {
	case err != nil:
		e.fail(name, formPrefix+Code(jws.CodeOf(err)), "%s", formText(err))
	case e.keyless:
		e.skip(name, "no keys were given")
	case key == nil:
		e.skip(name, "the key is not known")
	case !alg.fits(key):
		e.skip(name, "the header's alg is not for this kind of key")
	case alg.verify(key, e.parts.Signed, signature, e.v.stdlib):
		e.ok(name, "that of the key over this header and these claims")
	default:
		e.fail(name, CodeSignature, "not that of the key over this header and these claims%s", e.guessSignature(key, signature))
	}
}

// guessSignature tries the usual mistakes.
func (e *explainer) guessSignature(key *Key, signature []byte) string {
	for name, other := range algorithms {
		if other.verify(key, e.parts.Signed, signature, e.v.stdlib) {
			return fmt.Sprintf(": it was made with %s, while the header says %s", name, e.token.Header.Alg)
		}
	}
	if text := e.signerText(key); text != "" {
		return text
	}
	want := (key.Bits + 7) / 8
	if key.Kty != TypeRSA {
		want *= 2
	}
	switch {
	case len(signature) == want:
		return ": header or claims were changed after signing, or another key of this kid signed"
	case key.Kty == TypeEC && signature[0] == 0x30:
		return ": it looks like DER; tokens have r and s one after the other (RFC 7518, section 3.4)"
	default:
		return fmt.Sprintf(": it has %d bytes, those of this key have %d", len(signature), want)
	}
}

// signerText names the key at hand that did make the signature, if it isn't
// the one that is given.
func (e *explainer) signerText(not *Key) string {
	signature, err := jws.AppendDecode(nil, e.parts.Signature)
	if err != nil {
		return ""
	}
	alg := algorithms[e.token.Header.Alg]
	for _, source := range e.underlying() {
		s, ok := source.(KeyLister)
		if !ok {
			continue
		}
		for _, k := range s.Keys() {
			if k != not && alg.verify(k, e.parts.Signed, signature, e.v.stdlib) {
				return fmt.Sprintf(": the key with the kid %s made the signature", quote(k.Kid))
			}
		}
	}
	return ""
}
