package notifications

import (
	"net/http"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifications/recipient"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	textTeamOnly = "Can’t send to this recipient using a team-only API key"
	textTrial    = "Can’t send to this recipient when service is in trial mode – see https://www.notifications.service.gov.uk/trial-mode"
)

// restricted refuses a recipient who is not on the service's guest list when the
// key or the service may send to nobody else. to is normalised.
func (a *API) restricted(id notifyauth.Identity, s storage.ServiceSettings, channel storage.Channel, to string) *refusal {
	ref := &refusal{status: http.StatusBadRequest, kind: errorBadRequest}
	switch t := keyType(id); {
	case t == storage.KeyTeam:
		ref.code, ref.text = codeTeamOnly, textTeamOnly
	case t == storage.KeyNormal && s.Trial:
		ref.code, ref.text = codeTrial, textTrial
	default:
		return nil
	}
	for _, guest := range s.GuestList {
		if a.sameRecipient(channel, guest, to) {
			return nil
		}
	}
	return ref
}

// sameRecipient reports whether text, however it is spelled, is the normalised
// recipient to.
func (a *API) sameRecipient(channel storage.Channel, text, to string) bool {
	if channel == storage.Email {
		address, err := recipient.NormaliseEmail(text)
		return err == nil && strings.EqualFold(address, to)
	}
	if tail(text) != tail(to) {
		return false // most of a list, which saves the parsing
	}
	if phone, err := a.phones.Parse(text); err == nil {
		return phone.Number == to
	}
	number, err := a.phones.Normalise(text) // which takes some that Parse doesn't
	return err == nil && number == to
}

// tail returns the last digits of a phone number, which are the same in every
// spelling.
func tail(text string) string {
	const length = 6
	var digits [length]byte
	n := 0
	for i := len(text) - 1; i >= 0 && n < length; i-- {
		if '0' <= text[i] && text[i] <= '9' {
			digits[n] = text[i]
			n++
		}
	}
	return string(digits[:n])
}
