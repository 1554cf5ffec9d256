package jwks

import (
	"fmt"
	"slices"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

const (
	maxKid    = 128
	maxIssuer = 256
	reasonKid = "its kid is not 1 to 128 printable ASCII characters"
)

func validKid(kid string) bool {
	return kid != "" && len(kid) <= maxKid && !slices.ContainsFunc([]byte(kid), func(c byte) bool { return c < ' ' || c > '~' })
}

// members is what a JWK holds, of what matters.
type members struct {
	kid, kty, use, alg string

	hasKid, hasUse, hasAlg bool

	public  map[string]string // kty, n, e, crv, x, y
	private string            // the name of one that holds private or symmetric material
	issuer  *jws.Value        // nil when there is none
	ops     []string
	hasOps  bool
	wrong   string // the name of one that is not of its type
}

// jwk reads one key of a set.
func (p *parser) jwk(raw []byte) {
	m, err := readMembers(raw)
	if err != nil {
		p.skip("", "", "it is not a JWK: "+err.Error())
		return
	}
	reason := m.unusable()
	issuer := ""
	if p.limits.Issuers && m.issuer != nil {
		p.issued = true
		var ok bool
		if issuer, ok = m.issuerText(); !ok && reason == "" {
			reason = fmt.Sprintf("its %s is not a text of 1 to %d bytes", IssuerMember, maxIssuer)
		}
	}
	if reason != "" {
		p.skip(m.kid, m.kty, reason)
		return
	}
	public, err := parseMembers(m.public)
	if err != nil {
		p.skip(m.kid, m.kty, fmt.Sprintf("its kty is %s, but %s", m.kty, err))
		return
	}
	p.add(Skipped{Kid: m.kid, Kty: m.kty}, Key{Alg: m.alg, Use: m.use, Issuer: issuer, Public: public})
}

// add keeps the key that was found under a name, or skips it.
func (p *parser) add(found Skipped, said Key) {
	k, err := newKey(said.Public)
	if err != nil {
		p.skip(found.Kid, found.Kty, err.Error())
		return
	}
	k.Kid, k.Alg, k.Use, k.Issuer = found.Kid, said.Alg, said.Use, said.Issuer
	if reason := k.unusable(p.limits.MinKeyBits); reason != "" {
		p.skip(k.Kid, k.Kty, reason)
		return
	}
	p.keys = append(p.keys, k)
}

// Bounds of one JWK: certificates in x5c count as members.
const (
	jwkDepth   = 4
	jwkMembers = 64
)

func readMembers(raw []byte) (members, error) {
	m := members{public: make(map[string]string, 4)}
	err := jws.Object(raw, jws.Limits{Depth: jwkDepth, Members: jwkMembers}, func(name jws.Text, value jws.Value) error {
		switch n := name.String(); n {
		case "kid":
			m.kid, m.hasKid = m.text(n, value), true
		case "kty":
			m.kty = m.text(n, value)
			m.public[n] = m.kty
		case "use":
			m.use, m.hasUse = m.text(n, value), true
		case "alg":
			m.alg, m.hasAlg = m.text(n, value), true
		case "n", "e", "crv", "x", "y":
			m.public[n] = m.text(n, value)
		case "k", "d", "p", "q", "dp", "dq", "qi", "oth":
			m.private = n
		case IssuerMember:
			m.issuer = &value
		case "key_ops":
			m.hasOps = true
			return m.readOps(value)
		}
		return nil
	})
	return m, err
}

func (m *members) text(name string, value jws.Value) string {
	if value.Kind != jws.KindString {
		m.wrong = name
	}
	return value.Text().String()
}

func (m *members) issuerText() (issuer string, ok bool) {
	if m.issuer.Kind != jws.KindString {
		return "", false
	}
	issuer = m.issuer.Text().String()
	return issuer, issuer != "" && len(issuer) <= maxIssuer
}

func (m *members) readOps(value jws.Value) error {
	if value.Kind != jws.KindArray {
		m.wrong = "key_ops"
		return nil
	}
	return jws.Array(value.Raw, jws.Limits{Depth: jwkDepth}, func(_ int, op jws.Value) error {
		m.ops = append(m.ops, m.text("key_ops", op))
		return nil
	})
}

// unusable says why a key is skipped before its bytes are read, or nothing.
func (m *members) unusable() string {
	switch {
	case m.kty == "oct":
		return "it is a symmetric key: whoever verifies with it can sign as well"
	case m.private != "":
		return fmt.Sprintf("it holds private material (%s): publish and configure public keys only, and replace this one", m.private)
	case m.wrong != "":
		return fmt.Sprintf("its member %s is not of the type that RFC 7517 gives it", m.wrong)
	case m.kty == "":
		return "it has no kty"
	case m.kty != TypeRSA && m.kty != TypeEC && m.kty != TypeOKP:
		return fmt.Sprintf("its kty is %q; RSA, EC and OKP are known", clip(m.kty))
	case m.hasKid && !validKid(m.kid):
		return reasonKid
	case m.hasUse && m.use != "sig":
		return fmt.Sprintf("its use is %q, not sig", clip(m.use))
	case m.hasOps && !slices.Contains(m.ops, "verify"):
		return "its key_ops do not include verify"
	case m.hasAlg && m.alg == "":
		return "its alg is empty"
	default:
		return m.unusableCurve()
	}
}

func (m *members) unusableCurve() string {
	crv := m.public["crv"]
	switch {
	case m.kty == TypeEC && crv != "P-256" && crv != "P-384" && crv != "P-521":
		return fmt.Sprintf("its crv is %q; P-256, P-384 and P-521 are known", clip(crv))
	case m.kty == TypeOKP && crv != "Ed25519":
		return fmt.Sprintf("its crv is %q; of OKP only Ed25519 verifies signatures here", clip(crv))
	default:
		return ""
	}
}
