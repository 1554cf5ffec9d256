package pkcs11

import (
	"context"
	"errors"

	ck "github.com/miekg/pkcs11"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

// The texts that say more than their codes do.
const (
	textRemoved    = "The smartcard was taken out or changed. Insert it and try again."
	textNoAnswer   = "The card reader doesn't answer. Take the card out, put it in again and try again; if that doesn't help, restart the hub."
	textStillBusy  = "The card reader still doesn't answer an earlier request. Take the card out, put it in again and restart the hub."
	textOtherUser  = "Another program is using the smartcard. Close it and try again."
	textExpiredPIN = "The PIN has expired. Change it with the card's own software."
	textNoPIN      = "The card has no PIN yet. Set one with the card's own software."
	textCardFault  = "The smartcard or its reader reported a fault. The hub's log says which."
	textPINAgain   = "The smartcard wants its PIN again. Try once more."
)

// fault is what an answer of a module means.
type fault struct {
	code    hub.Code
	message string // the code's own when empty
}

var faults = map[uint]fault{
	ck.CKR_TOKEN_NOT_PRESENT:      {hub.CodeNoCard, textRemoved},
	ck.CKR_DEVICE_REMOVED:         {hub.CodeNoCard, textRemoved},
	ck.CKR_TOKEN_NOT_RECOGNIZED:   {hub.CodeNoCard, ""},
	ck.CKR_SLOT_ID_INVALID:        {hub.CodeNoCard, textRemoved},
	ck.CKR_SESSION_HANDLE_INVALID: {hub.CodeNoCard, textRemoved},
	ck.CKR_SESSION_CLOSED:         {hub.CodeNoCard, textRemoved},

	ck.CKR_PIN_INCORRECT:            {hub.CodePINIncorrect, ""},
	ck.CKR_PIN_INVALID:              {hub.CodePINIncorrect, ""},
	ck.CKR_PIN_LEN_RANGE:            {hub.CodePINIncorrect, ""},
	ck.CKR_PIN_LOCKED:               {hub.CodePINBlocked, ""},
	ck.CKR_PIN_EXPIRED:              {hub.CodePINBlocked, textExpiredPIN},
	ck.CKR_USER_PIN_NOT_INITIALIZED: {hub.CodePINBlocked, textNoPIN},
	ck.CKR_USER_NOT_LOGGED_IN:       {hub.CodeInternal, textPINAgain},

	// Of readers on which the user types the PIN.
	ck.CKR_CANCEL:            {hub.CodeUserCancelled, ""},
	ck.CKR_FUNCTION_CANCELED: {hub.CodeUserCancelled, ""},
	ck.CKR_FUNCTION_REJECTED: {hub.CodeUserCancelled, ""},

	ck.CKR_MECHANISM_INVALID:          {hub.CodeUnsupportedAlgorithm, ""},
	ck.CKR_MECHANISM_PARAM_INVALID:    {hub.CodeUnsupportedAlgorithm, ""},
	ck.CKR_KEY_TYPE_INCONSISTENT:      {hub.CodeUnsupportedAlgorithm, ""},
	ck.CKR_KEY_SIZE_RANGE:             {hub.CodeUnsupportedAlgorithm, ""},
	ck.CKR_KEY_FUNCTION_NOT_PERMITTED: {hub.CodeUnsupportedAlgorithm, ""},

	ck.CKR_SESSION_COUNT:                  {hub.CodeBusy, textOtherUser},
	ck.CKR_USER_ANOTHER_ALREADY_LOGGED_IN: {hub.CodeBusy, textOtherUser},
	ck.CKR_USER_TOO_MANY_TYPES:            {hub.CodeBusy, textOtherUser},

	ck.CKR_DEVICE_ERROR:  {hub.CodeInternal, textCardFault},
	ck.CKR_DEVICE_MEMORY: {hub.CodeInternal, textCardFault},
}

// explain makes a hub's error of whatever went wrong. Those of a context and
// those that are the hub's already stay as they are.
func explain(err error) error {
	_, known := errors.AsType[*hub.Error](err)
	switch {
	case err == nil, known, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, cryptoki.ErrBusy):
		return failed(hub.CodeBusy, textStillBusy, err)
	case errors.Is(err, cryptoki.ErrNoAnswer):
		return failed(hub.CodeInternal, textNoAnswer, err)
	}
	if f, ok := faults[cryptoki.CodeOf(err)]; ok {
		return failed(f.code, f.message, err)
	}
	return failed(hub.CodeInternal, "", err)
}

func failed(code hub.Code, message string, cause error) *hub.Error {
	return &hub.Error{Code: code, Message: message, RetriesLeft: -1, Err: cause}
}

// removed tells that the token went away, or that it was another session's.
func removed(err error) bool {
	f, ok := faults[cryptoki.CodeOf(err)]
	return ok && f.code == hub.CodeNoCard
}

// isWrongPIN tells that the token refused a PIN.
func isWrongPIN(err error) bool {
	f, ok := faults[cryptoki.CodeOf(err)]
	return ok && f.code == hub.CodePINIncorrect
}
