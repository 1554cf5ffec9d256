package evidence

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSignatures(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	good := newUpload(t, root, 3)
	key := rsaKey(t, 2048, 0)
	with := func(i int, value string) func(*Upload) {
		return func(u *Upload) { u.Signatures[i].Value = value }
	}
	raw, _ := decode(good.Signatures[1].Value)
	flipped := slices.Clone(raw)
	flipped[100] ^= 1
	pss, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, make([]byte, 32), nil)
	require.NoError(t, err)

	for name, tc := range map[string]struct {
		change func(*Upload)
		code   Code
		want   string
	}{
		"good":           {func(*Upload) {}, "", ""},
		"in other order": {func(u *Upload) { slices.Reverse(u.Signatures) }, "", ""},
		"RS1": {func(u *Upload) {
			u.Algorithm, u.Signatures = RS1, sign(t, key, RS1, u.Documents)
		}, "", ""},
		"empty":       {with(1, ""), CodeEncoding, `Invalid request payload: "signatures[1].signature" is not allowed to be empty`},
		"not base64":  {with(1, "!"+good.Signatures[1].Value[1:]), CodeEncoding, `Invalid request payload: "signatures[1].signature" must be a valid base64 string`},
		"new line":    {with(1, good.Signatures[1].Value+"\n"), CodeEncoding, `"signatures[1].signature" must be a valid`},
		"not padded":  {with(1, strings.TrimRight(good.Signatures[1].Value, "=")), CodeEncoding, `"signatures[1].signature" must be a valid`},
		"endless":     {with(1, strings.Repeat("A", longestSignature+4)), CodeSignatureLength, `"signatures[1].signature" is longer than any signature`},
		"cut":         {with(1, b64(raw[1:])), CodeSignatureLength, `Signature of document "doc-1" must be 256 bytes long like the certificate's key, not 255`},
		"lengthened":  {with(1, b64(append([]byte{0}, raw...))), CodeSignatureLength, `Signature of document "doc-1" must be 256`},
		"one bit":     {with(1, b64(flipped)), CodeSignature, `Signature of document "doc-1" is not valid`},
		"zero":        {with(2, b64(make([]byte, 256))), CodeSignature, `Signature of document "doc-2" is not valid`},
		"the modulus": {with(2, b64(key.N.Bytes())), CodeSignature, `Signature of document "doc-2" is not valid`},
		"PSS":         {with(0, b64(pss)), CodeSignature, `Signature of document "doc-0" is not valid`},
		"swapped": {func(u *Upload) {
			u.Signatures[0].Value, u.Signatures[1].Value = u.Signatures[1].Value, u.Signatures[0].Value
		}, CodeSignature, `Signature of document "doc-0" is not valid`},
		"other payload": {func(u *Upload) { u.Documents[2].Payload = []byte("other") }, CodeSignature, `"doc-2"`},
		"payload with a new line": {func(u *Upload) {
			u.Documents[2].Payload = append(slices.Clone(u.Documents[2].Payload), '\n')
		}, CodeSignature, `"doc-2"`},
		"RS1 for RS256": {func(u *Upload) { u.Signatures = sign(t, key, RS1, u.Documents) }, CodeSignature, `"doc-0"`},
		"RS256 for RS1": {func(u *Upload) { u.Algorithm = RS1 }, CodeSignature, `"doc-0"`},
		"other key":     {func(u *Upload) { u.Signatures = sign(t, rsaKey(t, 2048, 1), RS256, u.Documents) }, CodeSignature, `"doc-0"`},
		"other certificate": {func(u *Upload) {
			u.Certificate = b64(root.certificate(t, rsaKey(t, 2048, 1).Public()).Raw)
		}, CodeSignature, `"doc-0"`},
		"ids":                 {func(u *Upload) { u.Signatures = u.Signatures[:2] }, CodeIDs, `"doc-2" is missing`},
		"ids before encoding": {func(u *Upload) { u.Signatures = []Signature{{"doc-0", "!"}} }, CodeIDs, `is missing`},
		"id that must not be echoed": {func(u *Upload) {
			u.Documents[1].ID, u.Signatures[1].ID = "<i>", "<i>"
			u.Documents[1].Payload = nil
		}, CodeSignature, "Signature of document number 2 is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			u := good
			u.Documents, u.Signatures = slices.Clone(u.Documents), slices.Clone(u.Signatures)
			tc.change(&u)
			c, err := CheckSignatures(t.Context(), u, 0)
			if tc.code == "" {
				require.NoError(t, err)
				assert.Equal(t, testUser+"_TEST", c.Subject.CommonName)
				return
			}
			refused(t, err, tc.code, tc.want)
		})
	}
}

// A fault of the caller is no refusal of the upload.
func TestSenselessCalls(t *testing.T) {
	good := newUpload(t, newAuthority(t, "Root", nil), 1)
	for _, algorithm := range []string{"", "rs256", "RS512", "none"} {
		u := good
		u.Algorithm = algorithm
		_, err := CheckSignatures(t.Context(), u, 0)
		require.ErrorContains(t, err, "expected RS256 or RS1")
		assert.Equal(t, CodeUnexpected, CodeOf(err))
	}
	_, err := CheckSignatures(t.Context(), Upload{Algorithm: RS1, Certificate: good.Certificate}, 0)
	require.ErrorContains(t, err, "no documents")
	assert.Equal(t, CodeUnexpected, CodeOf(err))
}

func TestCancelled(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	u := newUpload(t, root, 2)
	reason := errors.New("the browser left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err := CheckSignatures(ctx, u, 0)
	require.ErrorIs(t, err, reason)
	assert.Equal(t, CodeUnexpected, CodeOf(err))
	_, err = newVerifier(t, Config{Roots: pool(root)}).Verify(ctx, u)
	require.ErrorIs(t, err, reason)
}
