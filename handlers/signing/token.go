package signing

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// newToken makes a token: the standard base64 of the text of a version 4 UUID,
// whose 122 random bits are a capability. As that text has only hexadecimal
// digits and "-", the token has neither of +, / and =.
func newToken() (string, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString([]byte(id.String())), nil
}

// maxToken bounds what is looked up, in bytes.
const maxToken = 256

// digest is what the storage knows of a token. ok is false when it isn't
// standard base64. The base URL is a part of it: two APIs may share a storage,
// and what one of them accepted must not be signed or read by the rules of the
// other.
func (a *API) digest(token string) (digest storage.Digest, ok bool) {
	if token == "" || len(token) > maxToken || !isBase64(token) {
		return digest, false
	}
	return sha256.Sum256([]byte(a.config.BaseURL + "\x00" + token)), true
}

// isBase64 reports whether a text is standard base64 with padding (RFC 4648,
// section 4), as the real service checks it.
func isBase64(text string) bool {
	_, err := decodeBase64(base64.StdEncoding, text)
	return err == nil
}

// strictBase64 also refuses spare bits other than zero.
var strictBase64 = base64.StdEncoding.Strict()

// decodeBase64 refuses line breaks, which the decoder itself skips.
func decodeBase64(encoding *base64.Encoding, text string) ([]byte, error) {
	if at := strings.IndexAny(text, "\r\n"); at >= 0 {
		return nil, base64.CorruptInputError(at)
	}
	return encoding.DecodeString(text)
}

// tokenName stands for a token in logs.
func tokenName(digest storage.Digest) string { return hex.EncodeToString(digest[:6]) }
