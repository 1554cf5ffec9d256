package recipient

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
)

// PhoneError says why a text is not a phone number that messages may go to.
type PhoneError uint8

// The reasons. The first four are those of March 2016; the last two can only
// occur where numbers of other countries are allowed.
const (
	ErrLettersOrSymbols PhoneError = iota + 1
	ErrNotHomeNumber
	ErrTooManyDigits
	ErrNotEnoughDigits
	ErrUnknownCountry
	ErrNotValid
)

// Error returns Notify's words.
func (e PhoneError) Error() string { return "Invalid phone number: " + e.reason() }

func (e PhoneError) reason() string {
	switch e {
	case ErrLettersOrSymbols:
		return "Must not contain letters or symbols"
	case ErrNotHomeNumber:
		// Notify's text, whatever the home region: clients compare it.
		return "Not a UK mobile number"
	case ErrTooManyDigits:
		return "Too many digits"
	case ErrNotEnoughDigits:
		return "Not enough digits"
	case ErrUnknownCountry:
		return "Not a valid country prefix"
	case ErrNotValid:
		return "Not a valid phone number"
	}
	return "unknown"
}

// Phones checks phone numbers against the numbering plans that libphonenumber
// knows. It is immutable and safe for concurrent use.
type Phones struct {
	region        string
	country       int32
	digits        int // of a mobile number of the region, without prefixes
	international bool
}

// NewPhones returns a checker. region is the ISO 3166-1 code ("GB") of the
// country whose numbers may be written without a country code, and the only
// one that is allowed unless international is set.
func NewPhones(region string, international bool) (*Phones, error) {
	region = strings.ToUpper(region)
	country := phonenumbers.GetCountryCodeForRegion(region)
	example := phonenumbers.GetExampleNumberForType(region, phonenumbers.MOBILE)
	if country == 0 || example == nil {
		return nil, fmt.Errorf("recipient: unknown region %q: give an ISO 3166-1 country code such as GB", region)
	}
	return &Phones{
		region:        region,
		country:       int32(country),
		digits:        len(phonenumbers.GetNationalSignificantNumber(example)),
		international: international,
	}, nil
}

const (
	maxPhoneBytes  = 100 // as typed, with spaces and brackets
	maxPhoneDigits = 20  // 15 by ITU-T E.164, and prefixes for dialling
)

// Normalise returns the number in E.164 with "+", such as "+447700900123". The
// error is a PhoneError.
//
// Digits, spaces, "(", ")", "-" and "+" are allowed. A number of the home
// region passes when it is a mobile number, and also when libphonenumber knows
// no such line but it has the length of one: ranges reserved for examples and
// drama, or opened after its release. A UK number in the very form of the
// developer page, +44 and ten digits, passes as it did in January 2016 though
// it be a landline, as the page's own +441234123123 is. A foreign number must
// be valid. Premium-rate and shared-cost numbers never pass.
func (p *Phones) Normalise(text string) (string, error) {
	compact, digits, err := strip(text)
	switch {
	case err != nil:
		return "", err
	case digits == 0:
		return "", ErrNotEnoughDigits
	case digits > maxPhoneDigits:
		return "", ErrTooManyDigits
	}
	if national, ok := p.plainUK(compact); ok {
		return "+44" + national, nil
	}
	return p.parse(compact, p.region == "GB" && text == compact && len(compact) == len("+44")+digitsUK)
}

// parse asks libphonenumber. landlines says that home numbers need not be
// mobile ones.
func (p *Phones) parse(compact string, landlines bool) (string, error) {
	var first error
	for _, number := range p.readings(compact) {
		n, err := p.check(number, landlines)
		if err == nil {
			return phonenumbers.Format(n, phonenumbers.E164), nil
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

// readings returns the number as written and, as Notify does, what it may have
// been meant to be: "+07…", "+0044…" and "044…" are common slips, and a number
// may have a foreign country code without its "+". None of them takes a foreign
// country code for the beginning of a home number.
func (p *Phones) readings(compact string) []string {
	readings := []string{compact}
	bare := strings.TrimLeft(compact, "+0")
	nationalWithPlus := strings.HasPrefix(compact, "+0") && !strings.HasPrefix(compact, "+00")
	if bare != compact && (nationalWithPlus || strings.HasPrefix(bare, strconv.Itoa(int(p.country)))) {
		readings = append(readings, bare)
	}
	if p.international && compact[0] != '+' && compact[0] != '0' {
		readings = append(readings, "+"+compact)
	}
	return readings
}

// strip leaves digits and a leading "+" and counts the digits.
func strip(text string) (compact string, digits int, err error) {
	if len(text) > maxPhoneBytes {
		for _, r := range text {
			if !allowed(r) {
				return "", 0, ErrLettersOrSymbols
			}
		}
		return "", 0, ErrTooManyDigits
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !allowed(r), r == '+' && b.Len() > 0:
			return "", 0, ErrLettersOrSymbols
		case r >= '0' && r <= '9':
			digits++
			b.WriteRune(r)
		case r == '+':
			b.WriteRune(r)
		}
	}
	return b.String(), digits, nil
}

// allowed leaves out the digits of other scripts: libphonenumber would take
// them, but what the client signed and what is dialled should look alike.
func allowed(r rune) bool {
	switch r {
	case '(', ')', '-', '+', '\u200b', '\u200c', '\u200d', '\u2060', '\ufeff':
		return true
	}
	return r >= '0' && r <= '9' || unicode.IsSpace(r)
}

func (p *Phones) check(number string, landlines bool) (*phonenumbers.PhoneNumber, error) {
	n, err := phonenumbers.Parse(number, p.region)
	if err != nil {
		return nil, p.parseError(err)
	}
	if n.GetCountryCode() != p.country {
		return n, p.checkForeign(n)
	}
	return n, p.checkHome(n, landlines)
}

func (p *Phones) parseError(err error) error {
	switch {
	case errors.Is(err, phonenumbers.ErrInvalidCountryCode):
		if p.international {
			return ErrUnknownCountry
		}
		return ErrNotHomeNumber
	case errors.Is(err, phonenumbers.ErrNumTooLong):
		return ErrTooManyDigits
	}
	return ErrNotEnoughDigits
}

func (p *Phones) checkHome(n *phonenumbers.PhoneNumber, landlines bool) error {
	national := phonenumbers.GetNationalSignificantNumber(n)
	if phonenumbers.IsValidNumber(n) {
		if mobile(n) || landlines && phonenumbers.GetNumberType(n) == phonenumbers.FIXED_LINE {
			return nil
		}
		return ErrNotHomeNumber
	}
	switch {
	case p.region == "GB" && len(national) != p.digits && !strings.HasPrefix(strings.TrimLeft(national, "0"), "7"):
		return ErrNotHomeNumber // as in March 2016, before its length is looked at
	case len(national) < p.digits:
		return ErrNotEnoughDigits
	case len(national) > p.digits:
		return ErrTooManyDigits
	case !phonenumbers.IsPossibleNumber(n), p.region == "GB" && !plausibleUK(national):
		return ErrNotHomeNumber
	}
	return nil
}

// plausibleUK reports whether a national number that libphonenumber doesn't
// know lies where Ofcom's National Telephone Numbering Plan has numbers of
// people: 01 and 02 (places), 03 (as places), 07 (mobiles). 08 and 09 are
// special services and premium rate, the others are not in use.
func plausibleUK(national string) bool {
	switch national[0] {
	case '1', '2', '3', '7':
		return true
	}
	return false
}

// digitsUK is the length of a UK number without prefixes.
const digitsUK = 10

// plainUK knows the common spellings of the numbers that pass whatever
// libphonenumber says of them, which costs it 40 µs and 140 allocations.
func (p *Phones) plainUK(compact string) (national string, ok bool) {
	if p.region != "GB" || len(compact) < digitsUK {
		return "", false
	}
	prefix, national := compact[:len(compact)-digitsUK], compact[len(compact)-digitsUK:]
	if national[0] != '7' || national[1] == '0' || national[1] == '6' {
		return "", false // 070 and 076 are personal numbers and pagers
	}
	switch prefix {
	case "", "0", "44", "+44", "0044":
		return national, true
	}
	return "", false
}

func (p *Phones) checkForeign(n *phonenumbers.PhoneNumber) error {
	if !p.international {
		return ErrNotHomeNumber
	}
	switch phonenumbers.IsPossibleNumberWithReason(n) {
	case phonenumbers.TOO_SHORT, phonenumbers.IS_POSSIBLE_LOCAL_ONLY:
		return ErrNotEnoughDigits
	case phonenumbers.TOO_LONG:
		return ErrTooManyDigits
	case phonenumbers.INVALID_COUNTRY_CODE:
		return ErrUnknownCountry
	case phonenumbers.IS_POSSIBLE, phonenumbers.INVALID_LENGTH:
	}
	if !phonenumbers.IsValidNumber(n) || costly(n) {
		return ErrNotValid
	}
	return nil
}

// mobile reports whether a valid number may be a mobile one; some countries
// don't tell them from landlines.
func mobile(n *phonenumbers.PhoneNumber) bool {
	t := phonenumbers.GetNumberType(n)
	return t == phonenumbers.MOBILE || t == phonenumbers.FIXED_LINE_OR_MOBILE
}

// costly reports whether the receiver earns on what the sender pays.
func costly(n *phonenumbers.PhoneNumber) bool {
	t := phonenumbers.GetNumberType(n)
	return t == phonenumbers.PREMIUM_RATE || t == phonenumbers.SHARED_COST
}
