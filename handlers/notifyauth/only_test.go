package notifyauth

import (
	"context"
	"crypto/subtle"
)

// verifyOnly is the whole check of a token and a body that is at hand.
func (v *Verifier) verifyOnly(ctx context.Context, token string, o Original, body []byte) error {
	var h head
	if _, fault := v.verifyHead(ctx, token, o, &h); fault != nil {
		return fault
	}
	if len(body) == 0 {
		if h.claims.payState != absent {
			return v.refuse(CodePayUnexpected, &h)
		}
		return nil
	}
	if h.claims.payState != present {
		return v.refuse(payFault(h.claims.payState), &h)
	}
	mac := h.key.begin()
	mac.write(body)
	var sum [macSize]byte
	h.key.end(mac, &sum)
	if subtle.ConstantTimeCompare(sum[:], h.claims.pay[:]) != 1 {
		return v.refuse(CodePay, &h)
	}
	if isTokenBody(body) {
		return v.refuse(CodeTokenBody, &h)
	}
	return nil
}
