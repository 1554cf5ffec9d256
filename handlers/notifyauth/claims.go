package notifyauth

import (
	"bytes"
	"encoding/base64"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// macText is the length of a MAC in padded base64.
const macText = 44

// claims are the claims of a token, as far as this package acts on them.
type claims struct {
	iss      []byte
	issState claimState
	issText  bool // a string, not a number

	iat, exp, nbf      int64
	iatState           claimState
	expState, nbfState claimState
	audience           bool
	req, pay           [macSize]byte
	reqState, payState claimState
}

type claimState uint8

const (
	absent    claimState = iota
	malformed            // of a wrong type or form
	present
)

// parse reads decoded claims. Its error is of the text's form; faults of
// single claims are kept in their states, because they are reported later.
func (c *claims) parse(data, issBuffer []byte) error {
	return jws.Object(data, jws.Limits{}, func(name jws.Text, value jws.Value) error {
		switch {
		case name.Is("iss"):
			c.setIss(value, issBuffer)
		case name.Is("iat"):
			c.iat, c.iatState = date(value)
		case name.Is("req"):
			c.reqState = mac(&c.req, value)
		case name.Is("pay"):
			c.payState = mac(&c.pay, value)
		case name.Is("exp"):
			c.exp, c.expState = date(value)
		case name.Is("nbf"):
			c.nbf, c.nbfState = date(value)
		case name.Is("aud"):
			c.audience = true
		}
		return nil
	})
}

func (c *claims) setIss(value jws.Value, buffer []byte) {
	c.issState = present
	switch value.Kind {
	case jws.KindString:
		c.iss, c.issText = value.Text().Append(buffer[:0]), true
	case jws.KindNumber:
		c.iss = value.Raw
	case jws.KindNull, jws.KindBool, jws.KindObject, jws.KindArray:
		c.issState = malformed
	}
}

func date(value jws.Value) (int64, claimState) {
	seconds, ok := value.NumericDate()
	if !ok {
		return 0, malformed
	}
	return seconds, present
}

var strictBase64 = base64.StdEncoding.Strict()

// mac decodes a MAC claim: the padded standard base64 of 32 bytes, in its one
// canonical form. Escapes are resolved first: PHP writes "\/" for "/".
func mac(into *[macSize]byte, value jws.Value) claimState {
	const longestEscape = 6
	if value.Kind != jws.KindString || len(value.Raw) > longestEscape*macText+2 {
		return malformed
	}
	var buffer, out [macText]byte
	text := value.Text().Append(buffer[:0])
	if len(text) != macText || bytes.ContainsAny(text, "\r\n") { // which Decode skips
		return malformed
	}
	n, err := strictBase64.Decode(out[:], text)
	if err != nil || n != macSize {
		return malformed
	}
	*into = [macSize]byte(out[:macSize])
	return present
}
