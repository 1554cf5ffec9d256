package notifyauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

const (
	algorithm = "HS256"
	// maxIss bounds the text by which services are looked up.
	maxIss = 128
)

// head is a token whose signature and request line have been verified.
type head struct {
	service *Service
	key     *Key
	claims  claims
	mac     [macSize]byte // the token's signature
	offset  int64         // iat minus now, in seconds
	timed   bool          // offset is known
}

// scratch holds a verification's temporary bytes.
type scratch struct {
	token  []byte
	header []byte
	claims []byte
	iss    []byte
	sig    []byte
	line   []byte
	sum    [macSize]byte
}

var scratches = sync.Pool{New: func() any {
	return &scratch{token: make([]byte, 0, 512), header: make([]byte, 0, 64), claims: make([]byte, 0, 384), iss: make([]byte, 0, 64), sig: make([]byte, 0, macSize), line: make([]byte, 0, 128)}
}}

// verifyHead checks everything about a token that needs no body, in the order
// of the design: form, service, algorithm, signature, times, path, req. h
// holds what is known when it fails.
func (v *Verifier) verifyHead(ctx context.Context, token string, o Original, h *head) (target, *Error) {
	s := scratches.Get().(*scratch) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer func() {
		h.claims.iss = nil // a slice of the scratch
		scratches.Put(s)
	}()
	if err := v.verifyToken(ctx, token, s, h); err != nil {
		return target{}, err
	}
	if code := v.checkTimes(h); code != "" {
		return target{}, v.refuse(code, h)
	}
	if h.key.revoked {
		return target{}, v.refuse(CodeRevoked, h)
	}
	t, code := v.target(o)
	if code == "" && v.dialect == Signed {
		code = v.checkRequest(&t, s, h)
	}
	if code != "" {
		return t, v.refuse(code, h)
	}
	return t, nil
}

// verifyToken takes the token apart and finds the key that signed it.
func (v *Verifier) verifyToken(ctx context.Context, token string, s *scratch, h *head) *Error {
	header, signed, err := s.parse(token, h)
	if err != nil {
		return v.refuseForm(err, h)
	}
	if v.dialect == Signed && header.Alg != algorithm {
		return v.refuse(CodeAlgorithm, h)
	}
	lookup, code := v.issuer(&h.claims)
	if code != "" {
		if v.dialect == Signed {
			v.waste(signed, 0)
		}
		return v.refuse(code, h)
	}
	if code, technical := v.findService(ctx, lookup, h); technical != nil {
		return v.refuseFor(CodeUnavailable, h, technical)
	} else if code != "" {
		v.waste(signed, 0)
		return v.refuse(code, h)
	}
	if v.dialect == V2 && header.Alg != algorithm {
		return v.refuse(CodeAlgorithm, h)
	}
	tried := h.findKey(signed, s, v.dialect == V2, v.now)
	if h.key == nil {
		v.waste(signed, tried)
		return v.refuse(CodeSignature, h)
	}
	return nil
}

// parse decodes the token's parts and reads their JSON.
func (s *scratch) parse(token string, h *head) (header jws.Header, signed []byte, err error) {
	// Of a token that is too long, no more is copied than shows that it is.
	s.token = append(s.token[:0], token[:min(len(token), jws.MaxBearer+1)]...)
	compact, err := jws.Split(s.token, jws.MaxBearer)
	if err != nil {
		return header, nil, err
	}
	if s.sig, err = jws.AppendDecode(s.sig[:0], compact.Signature); err != nil {
		return header, nil, err
	}
	if s.header, err = jws.AppendDecode(s.header[:0], compact.Header); err != nil {
		return header, nil, err
	}
	if header, err = jws.ParseHeader(s.header); err != nil {
		return header, nil, err
	}
	if err = header.RequireType("JWT"); err != nil {
		return header, nil, err
	}
	if s.claims, err = jws.AppendDecode(s.claims[:0], compact.Claims); err != nil {
		return header, nil, err
	}
	if err = h.claims.parse(s.claims, s.iss); err != nil {
		return header, nil, err
	}
	if len(s.sig) == macSize {
		h.mac = [macSize]byte(s.sig)
	}
	return header, compact.Signed, nil
}

// issuer returns the text by which the service is looked up.
func (v *Verifier) issuer(c *claims) (string, Code) {
	switch {
	case c.issState == absent:
		return "", CodeIssMissing
	case c.issState == malformed, len(c.iss) == 0:
		return "", CodeIssType
	case len(c.iss) > maxIss && v.dialect == Signed:
		return "", CodeUnknownService
	}
	if v.dialect == Signed {
		return string(c.iss), ""
	}
	id, err := uuid.ParseBytes(c.iss)
	if err != nil || !c.issText {
		return "", CodeIssType
	}
	return id.String(), ""
}

// findService sets h.service. A service outside the allow-list is unknown.
func (v *Verifier) findService(ctx context.Context, iss string, h *head) (Code, error) {
	// Whoever may not pass is not even looked up: the list is shorter than
	// the time that a storage takes, or the storage may be away.
	if v.allow != nil {
		if _, ok := v.allow[iss]; !ok {
			return CodeUnknownService, nil
		}
	}
	service, err := v.services.Service(ctx, iss)
	switch {
	case errors.Is(err, ErrUnknownService):
		return CodeUnknownService, nil
	case err != nil:
		return "", err
	case service == nil:
		return CodeUnknownService, nil
	}
	h.service = service
	// A compare-and-swap lost to a twin only delays the padding's growth.
	if most, n := v.mostKeys.Load(), service.activeKeys(); n > most {
		v.mostKeys.CompareAndSwap(most, n)
	}
	switch {
	case !service.hasKeys(v.now):
		return CodeNoKeys, nil
	case service.Archived:
		return CodeArchived, nil
	}
	return "", nil
}

// hasKeys reports whether the service has a key, be it one that was revoked not
// long ago.
func (s *Service) hasKeys(now func() time.Time) bool {
	for _, key := range s.Keys {
		if !key.forgotten(now) {
			return true
		}
	}
	return false
}

// activeKeys counts the keys that a refusal in the signed dialect tries.
func (s *Service) activeKeys() int32 {
	var n int32
	for _, key := range s.Keys {
		if !key.revoked && n < maxDecoys {
			n++
		}
	}
	return n
}

// findKey sets h.key to the key that signed the token and returns how many it
// tried: the active ones and then, when asked for, those that were revoked not
// long ago.
func (h *head) findKey(signed []byte, s *scratch, revoked bool, now func() time.Time) (tried int) {
	for _, pass := range [...]bool{false, true} {
		if pass && !revoked {
			break
		}
		for _, key := range h.service.Keys {
			if key.revoked != pass || key.forgotten(now) {
				continue
			}
			key.sum(&s.sum, signed)
			tried++
			if subtle.ConstantTimeCompare(s.sum[:], s.sig) == 1 {
				h.key = key
				return tried
			}
		}
	}
	return tried
}

// maxDecoys bounds the work that a refusal may cost.
const maxDecoys = 8

// waste spends the MACs that would have been computed for the service with the
// most keys, so that the time of a refusal tells nothing about the service
// that the token names.
func (v *Verifier) waste(signed []byte, tried int) {
	var sum [macSize]byte
	for range v.decoys(tried) {
		decoy.sum(&sum, signed)
	}
}

// decoys returns how many MACs are missing after some were tried.
func (v *Verifier) decoys(tried int) int { return max(1, int(v.mostKeys.Load())) - tried }

// checkTimes checks the claims that say when and for whom the token holds.
// The historic verifiers failed on aud, on exp in the past and on nbf in the
// future (wire reference, 1.3); here the same tokens are refused, the ordinary
// way.
func (v *Verifier) checkTimes(h *head) Code {
	c := &h.claims
	now := v.now().Unix()
	switch {
	case c.expState == malformed, c.nbfState == malformed:
		return CodeTimeForm
	case c.audience:
		return CodeAudience
	case c.expState == present && c.exp <= now:
		return CodeExpPassed
	case c.nbfState == present && c.nbf > now+v.leeway:
		return CodeNotYet
	case c.iatState == absent:
		return CodeIatMissing
	case c.iatState == malformed:
		return CodeIatType
	case c.expState == present && c.exp <= c.iat:
		return CodeTimeForm
	}
	h.offset, h.timed = c.iat-now, true
	switch {
	case h.offset < -v.leeway:
		return CodeIatOld
	case h.offset > v.leeway:
		return CodeIatFuture
	}
	return ""
}

// checkRequest compares req with the request line, in both readings of the
// path.
func (v *Verifier) checkRequest(t *target, s *scratch, h *head) Code {
	if h.claims.reqState != present {
		return CodeReqMissing
	}
	for _, decoded := range [...]bool{false, true} {
		line, ok := t.appendCanonical(s.line[:0], v.query, decoded)
		s.line = line
		if !ok {
			continue
		}
		h.key.sum(&s.sum, line)
		if subtle.ConstantTimeCompare(s.sum[:], h.claims.req[:]) == 1 {
			return ""
		}
	}
	return CodeReq
}
