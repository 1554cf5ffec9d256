package recipient

import (
	"errors"
	"strings"

	"golang.org/x/net/idna"
)

// ErrEmail says that a text is not an email address. Its text is Notify's.
var ErrEmail = errors.New("Not a valid email address") //nolint:staticcheck // wire text, clients compare it

// Lengths by RFC 5321 section 4.5.3.1 and, for the whole, as Notify has it.
const (
	maxEmail  = 320
	maxLocal  = 64
	maxDomain = 253
)

// NormaliseEmail checks an email address and returns it without surrounding
// white space, with the domain in lower case. It takes an address alone, with
// neither a display name nor quotes, whose local part is ASCII and whose domain
// has at least two labels. The error is ErrEmail.
func NormaliseEmail(text string) (string, error) {
	text = strings.TrimSpace(text)
	local, domain, ok := strings.Cut(text, "@")
	if !ok || len(text) > maxEmail || !validLocal(local) {
		return "", ErrEmail
	}
	domain = strings.ToLower(domain)
	if !validDomain(domain) {
		return "", ErrEmail
	}
	return local + "@" + domain, nil
}

// validLocal accepts a dot-atom of RFC 5322, as Notify does.
func validLocal(s string) bool {
	if s == "" || len(s) > maxLocal || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if !alphanumeric(s[i]) && !strings.ContainsRune(".!#$%&'*+/=?^_`{|}~-", rune(s[i])) {
			return false
		}
	}
	return true
}

func validDomain(s string) bool {
	// The registration profile refuses what a resolver would, and turns
	// international names into the letters, digits and hyphens checked below.
	if len(s) > maxDomain {
		return false
	}
	ascii, err := idna.Lookup.ToASCII(s)
	if err != nil || len(ascii) > maxDomain {
		return false
	}
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !alphanumeric(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	top := labels[len(labels)-1]
	// Numbers there are IP addresses, which nobody's mail goes to.
	return len(top) >= 2 && strings.Trim(top, "0123456789") != ""
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
