package recipient

import (
	"errors"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// Phone is a phone number that messages can go to.
type Phone struct {
	// Number is in E.164 with "+", such as "+447700900123".
	Number string
	// International says that a message to it costs as one to another country
	// than the home region does. With GB as home that holds for Jersey, Guernsey
	// and the Isle of Man, too.
	International bool
	// SameCode says that the number has the country code of the home region,
	// which Jersey's has as well. Messages to it need no permission for
	// international ones.
	SameCode bool
	// Landline says that it is a number with the country code of the home region
	// that can't be a mobile one.
	Landline bool
}

// Parse reads a phone number by the rules of Notify's v2 dialect, whatever is
// allowed: Permit says that. The error is a PhoneError, whose Text v2 shows
// after the name of the field; it is never ErrNotHomeNumber.
//
// Digits, white space, "(", ")", "-" and "+" may be in it. The number must be a
// valid one by libphonenumber, as a number of the home region unless it begins
// with "+" or "00"; when its length is impossible there, as one with a country
// code. When none of that works, it is read again without its "+" and leading
// zeros, which may have been added by mistake. The numbers that are reserved
// for drama, 07700 900000 to 900999, are valid. Premium-rate numbers and other
// special services, personal numbers (070) among them, never are.
func (p *Phones) Parse(text string) (Phone, error) {
	compact, digits, err := strip(strings.ReplaceAll(text, "+", ""))
	switch {
	case err != nil:
		return Phone{}, err
	case digits == 0:
		return Phone{}, ErrNotEnoughDigits
	case digits > maxPhoneDigits:
		return Phone{}, ErrTooManyDigits
	}
	compact = plus(text) + compact
	if mobile := p.ordinaryUK(compact); mobile != "" {
		return Phone{Number: mobile, SameCode: true}, nil
	}
	phone, err := p.read(compact)
	if err != nil {
		again := strings.TrimLeft(compact, "+0")
		if again == "" {
			return Phone{}, err
		}
		var second error
		if phone, second = p.read(again); second != nil {
			if errors.Is(err, ErrUnknownCountry) {
				return Phone{}, err // says more than how the rest reads at home
			}
			return Phone{}, second
		}
	}
	return phone, nil
}

// ordinaryUK returns the commonest numbers of all in E.164, since libphonenumber
// takes 80 µs over one, and nothing for others: mobiles but for the ranges of which
// a part belongs to Jersey, Guernsey or the Isle of Man, is kept for drama, or
// isn't in use.
func (p *Phones) ordinaryUK(compact string) string {
	national, ok := p.plainUK(compact)
	if !ok {
		return ""
	}
	switch national[:3] {
	case "745", "750", "752", "770", "778", "779", "782", "783", "791", "793":
		return ""
	}
	return "+44" + national
}

// plus returns the plus sign that a number begins with.
func plus(text string) string {
	if i := strings.IndexAny(text, "+0123456789"); i >= 0 && text[i] == '+' {
		return "+"
	}
	return ""
}

// read reads a number in one way.
func (p *Phones) read(compact string) (Phone, error) {
	n, err := phonenumbers.Parse(compact, p.region)
	if err != nil {
		return Phone{}, readError(err)
	}
	if reason := phonenumbers.IsPossibleNumberWithReason(n); reason != phonenumbers.IS_POSSIBLE {
		// A spreadsheet may have taken the "+" away.
		forced, err := phonenumbers.Parse("+"+compact, "")
		if err != nil || !phonenumbers.IsPossibleNumber(forced) {
			return Phone{}, lengthError(reason)
		}
		n = forced
	}
	if phonenumbers.GetRegionCodeForCountryCode(int(n.GetCountryCode())) == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY {
		return Phone{}, ErrUnknownCountry // satellites and the like
	}
	phone := Phone{Number: phonenumbers.Format(n, phonenumbers.E164), SameCode: n.GetCountryCode() == p.country}
	if drama(n) {
		phone.International = !phone.SameCode
		return phone, nil
	}
	switch phonenumbers.GetNumberType(n) {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE:
	case phonenumbers.FIXED_LINE, phonenumbers.UAN:
		phone.Landline = phone.SameCode
	default:
		return Phone{}, ErrNotValid
	}
	phone.International = !phone.SameCode || phonenumbers.GetRegionCodeForNumber(n) != p.region
	return phone, nil
}

func readError(err error) error {
	switch {
	case errors.Is(err, phonenumbers.ErrInvalidCountryCode):
		return ErrUnknownCountry
	case errors.Is(err, phonenumbers.ErrNumTooLong):
		return ErrTooManyDigits
	}
	return ErrNotEnoughDigits
}

func lengthError(reason phonenumbers.ValidationResult) error {
	switch reason {
	case phonenumbers.TOO_LONG:
		return ErrTooManyDigits
	case phonenumbers.TOO_SHORT:
		return ErrNotEnoughDigits
	case phonenumbers.INVALID_COUNTRY_CODE:
		return ErrUnknownCountry
	case phonenumbers.IS_POSSIBLE, phonenumbers.IS_POSSIBLE_LOCAL_ONLY, phonenumbers.INVALID_LENGTH:
	}
	return ErrNotValid
}

// drama reports whether a number is one of those that Ofcom keeps for films and
// television, which libphonenumber doesn't count as valid.
func drama(n *phonenumbers.PhoneNumber) bool {
	const first, last = 7700_900_000, 7700_900_999
	return n.GetCountryCode() == 44 && n.GetNationalNumber() >= first && n.GetNationalNumber() <= last
}

// Permit says whether the service may send to the number: ErrInternational for
// numbers of another country code unless the Phones allow them, ErrLandline for
// landlines.
func (p *Phones) Permit(n Phone) error {
	switch {
	case !n.SameCode && !p.international:
		return ErrInternational
	case n.Landline:
		return ErrLandline
	}
	return nil
}

// PermissionError says why a good phone number may not be sent to. Its text is
// that of the v2 dialect.
type PermissionError uint8

// The reasons: v2 says InvalidPhoneError with the first and BadRequestError with
// the second.
const (
	ErrLandline PermissionError = iota + 1
	ErrInternational
)

// Error returns Notify's words.
func (e PermissionError) Error() string {
	if e == ErrLandline {
		return "Not a UK mobile number"
	}
	return "Cannot send to international mobile numbers"
}

// Text returns the words of the v2 dialect, which follow the name of the field:
// "phone_number Too many digits".
func (e PhoneError) Text() string {
	if e == ErrNotValid {
		return "Number is not valid – double check the phone number you entered"
	}
	return e.reason()
}
