package directory

import (
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Limits of settings, so that they stay small enough to be read at every
// request.
const (
	maxChoices   = 100 // of senders, of reply-to addresses, of numbers
	maxGuestList = 1000
	maxAddress   = 320 // of an email (RFC 3696, errata 1690)
	maxURL       = 2048
	maxBearer    = 1024
)

var (
	// e164 is a phone number as ITU-T E.164 has it.
	e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	// shortCode is a number within one country's networks.
	shortCode = regexp.MustCompile(`^[0-9]{3,8}$`)
	// senderName is the alphanumeric sender of a text message: 11 characters
	// (3GPP TS 23.040, 9.1.2.5), not all of them digits.
	senderName = regexp.MustCompile(`^[A-Za-z0-9 &.'_-]{1,11}$`)
	// phoneText is a phone number as people write it and the API takes it, of at
	// least seven digits: less is a part of one that was written with blanks.
	phoneText = regexp.MustCompile(`^\+?[ ()-]{0,3}([0-9][ ()-]{0,3}){7,20}$`)
)

// checkSettings says what can't be meant, in words for the person who wrote it.
// The bearer token of a callback is checkBearer's.
func checkSettings(s *storage.ServiceSettings) error {
	senders := make([]choice, 0, len(s.SMSSenders))
	for _, v := range s.SMSSenders {
		if !e164.MatchString(v.Text) && !shortCode.MatchString(v.Text) && (!senderName.MatchString(v.Text) || strings.TrimSpace(v.Text) != v.Text) {
			return inputErrorf("the SMS sender %q must be a name of at most 11 letters, digits and blanks, "+
				"a number such as +447700900123, or a short code", v.Text)
		}
		senders = append(senders, choice{v.ID, v.Default})
	}
	if err := checkChoices("SMS sender", senders); err != nil {
		return err
	}
	replies := make([]choice, 0, len(s.ReplyTo))
	for _, v := range s.ReplyTo {
		if err := checkAddress("reply-to address", v.Address); err != nil {
			return err
		}
		replies = append(replies, choice{v.ID, v.Default})
	}
	if err := checkChoices("reply-to address", replies); err != nil {
		return err
	}
	if s.EmailFrom != "" {
		if err := checkAddress("address that emails are from", s.EmailFrom); err != nil {
			return err
		}
	}
	if err := checkGuests(s.GuestList); err != nil {
		return err
	}
	if err := checkInboundNumbers(s.InboundNumbers); err != nil {
		return err
	}
	if s.Callback != nil {
		return checkCallbackURL(s.Callback.URL)
	}
	return nil
}

// choice is one of several that are chosen by id.
type choice struct {
	id        string
	isDefault bool
}

func checkChoices(what string, all []choice) error {
	if len(all) > maxChoices {
		return inputErrorf("a service has at most %d of %s, not %d", maxChoices, what, len(all))
	}
	seen := make(map[string]bool, len(all))
	defaults := 0
	for _, c := range all {
		if !CanBeStored(c.id) {
			return inputErrorf("the id %q of the %s is not a UUID in lower case", c.id, what)
		}
		if seen[c.id] {
			return inputErrorf("the id %s of the %s is given twice", c.id, what)
		}
		seen[c.id] = true
		if c.isDefault {
			defaults++
		}
	}
	if defaults > 1 {
		return inputErrorf("only one %s can be the default", what)
	}
	return nil
}

func checkAddress(what, address string) error {
	a, err := mail.ParseAddress(address)
	if err != nil || a.Address != address || a.Name != "" || len(address) > maxAddress {
		return inputErrorf("the %s %q is not an email address", what, address)
	}
	return nil
}

func checkGuests(list []string) error {
	if len(list) > maxGuestList {
		return inputErrorf("a guest list has at most %d entries, not %d", maxGuestList, len(list))
	}
	for _, g := range list {
		if strings.Contains(g, "@") {
			if err := checkAddress("guest", g); err != nil {
				return err
			}
			continue
		}
		if !phoneText.MatchString(g) {
			return inputErrorf("the guest %q is neither a phone number nor an email address", g)
		}
	}
	return nil
}

func checkInboundNumbers(numbers []string) error {
	if len(numbers) > maxChoices {
		return inputErrorf("a service has at most %d numbers for messages, not %d", maxChoices, len(numbers))
	}
	seen := make(map[string]bool, len(numbers))
	for _, n := range numbers {
		if !e164.MatchString(n) && !shortCode.MatchString(n) {
			return inputErrorf("messages to %q: write the number with its country, such as +447700900123, or a short code", n)
		}
		if seen[n] {
			return inputErrorf("messages to %s: the number is given twice", n)
		}
		seen[n] = true
	}
	return nil
}

// checkCallbackURL refuses what would send tokens and recipients in the clear.
func checkCallbackURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil: // which would quote a secret in it
		return inputErrorf("the callback's URL can't be parsed")
	case len(text) > maxURL:
		return inputErrorf("the callback's URL is longer than %d bytes", maxURL)
	case u.User != nil:
		return inputErrorf("the callback's URL must not have a user or password: the bearer token says who calls")
	case u.Host == "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return inputErrorf("the callback's URL must be a whole one that begins with https://")
	case u.Scheme == "http" && !isLocal(u.Hostname()):
		return inputErrorf("the callback's URL must begin with https://; plain http is for localhost only")
	case u.Fragment != "":
		return inputErrorf("the callback's URL must not have a fragment")
	}
	return nil
}

func isLocal(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// checkBearer refuses what a header can't hold (RFC 9110, 5.5).
func checkBearer(token []byte) error {
	switch {
	case len(token) == 0:
		return inputErrorf("the callback needs a bearer token, by which the service knows who calls")
	case len(token) > maxBearer:
		return inputErrorf("the callback's bearer token is longer than %d bytes", maxBearer)
	case strings.ContainsFunc(string(token), func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return inputErrorf("the callback's bearer token holds a blank or a character that a header can't hold")
	}
	return nil
}
