package pkcs11

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	ck "github.com/miekg/pkcs11"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

// place is a token and where it is.
type place struct {
	slot  cryptoki.Slot
	token cryptoki.Token
}

// session is a session with the token, within one job of the module.
type session struct {
	place
	api    cryptoki.API
	alive  func()
	handle cryptoki.Session
	// presented tells that the token has seen a PIN: from then on a card that
	// went away is no stale handle.
	presented bool
}

// tokens returns the tokens that are there. Slots are asked each time: only
// that makes modules look for new cards.
func tokens(api cryptoki.API) ([]place, error) {
	slots, err := api.GetSlotList(true)
	if err != nil {
		return nil, err
	}
	var found []place
	for _, slot := range slots {
		token, err := api.GetTokenInfo(slot)
		switch {
		case removed(err):
			continue // just now, or a card of another kind
		case err != nil:
			return nil, err
		case token.Flags&ck.CKF_TOKEN_INITIALIZED == 0 && token.Label == "":
			continue // blank
		}
		found = append(found, place{slot, token})
	}
	return found, nil
}

// find returns the token that a name means: its label or its serial number, or
// the only one when the name is empty.
func find(api cryptoki.API, name string) (place, error) {
	all, err := tokens(api)
	if err != nil {
		return place{}, err
	}
	fitting := slices.Clone(all)
	if name != "" {
		fitting = slices.DeleteFunc(fitting, func(p place) bool { return p.token.Label != name && p.token.Serial != name })
	}
	switch {
	case len(fitting) == 1:
		return fitting[0], nil
	case len(fitting) > 1 && name == "":
		return place{}, failed(hub.CodeNoCard, "There are several smartcards. Take out all but one, or name one in the hub's configuration.",
			fmt.Errorf("pkcs11: no token is configured and several are present: %s; name one by its label or serial number", describe(all)))
	case len(fitting) > 1:
		return place{}, failed(hub.CodeNoCard, "There are several smartcards of one name. Take out all but one, or name one by its serial number in the hub's configuration.",
			fmt.Errorf("pkcs11: several tokens have the label or serial number %q: %s; name one by its serial number", name, describe(fitting)))
	case len(all) > 0:
		return place{}, failed(hub.CodeNoCard, "There is a smartcard, but not the one that the hub is configured for. Insert that one, or correct the configuration.",
			fmt.Errorf("pkcs11: no token has the label or serial number %q; present: %s", name, describe(all)))
	default:
		return place{}, failed(hub.CodeNoCard, "", fmt.Errorf("pkcs11: no token is present (wanted: %q)", name))
	}
}

func describe(all []place) string {
	list := make([]string, len(all))
	for i, p := range all {
		list[i] = strconv.Quote(p.token.Label) + " (serial number " + strconv.Quote(p.token.Serial) + ")"
	}
	return strings.Join(list, ", ")
}

// within runs a function in a session of its own with the token. A token that
// went away and came back since the module last looked is tried once more.
func (s *Signer) within(ctx context.Context, limit time.Duration, run func(*session) error) error {
	return s.module.Do(ctx, limit, func(api cryptoki.API, alive func()) error {
		presented, err := s.runOnce(api, alive, run)
		if removed(err) && !presented && ctx.Err() == nil {
			_, err = s.runOnce(api, alive, run)
		}
		return err
	})
}

func (s *Signer) runOnce(api cryptoki.API, alive func(), run func(*session) error) (presented bool, err error) {
	where, err := find(api, s.config.Token)
	if err != nil {
		return false, err
	}
	return inSession(api, alive, where, func(opened *session) (bool, error) {
		err := run(opened)
		return opened.presented, err
	})
}

// inSession runs a function in a session with the token at a place.
func inSession[T any](api cryptoki.API, alive func(), where place, run func(*session) (T, error)) (result T, err error) {
	handle, err := api.OpenSession(where.slot, ck.CKF_SERIAL_SESSION)
	if err != nil {
		return result, err
	}
	// It fails when the token is gone, and then there is nothing to close.
	defer func() { _ = api.CloseSession(handle) }()
	return run(&session{place: where, api: api, alive: alive, handle: handle})
}
