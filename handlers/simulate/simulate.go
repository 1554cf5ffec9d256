// Package simulate knows the recipients that nothing is sent to: those that
// every key may try the notification API with, and those whose fate a test key
// can choose. They are GOV.UK Notify's (section 2.2 of the wire reference).
package simulate

import (
	"strings"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Recipient reports whether messages to a recipient are checked, answered as
// accepted, and neither stored nor sent, whatever the key. It may be spelled
// in any way that the API takes.
func Recipient(channel storage.Channel, to string) bool {
	switch channel {
	case storage.SMS:
		switch national(to) {
		case "7700900000", "7700900111", "7700900222":
			return true
		}
	case storage.Email:
		switch address(to) {
		case "simulate-delivered@notifications.service.gov.uk",
			"simulate-delivered-2@notifications.service.gov.uk",
			"simulate-delivered-3@notifications.service.gov.uk":
			return true
		}
	}
	return false
}

// Outcome returns the final state of a message that a test key has sent. It may
// be spelled in any way that the API takes.
func Outcome(channel storage.Channel, to string) storage.Status {
	switch channel {
	case storage.SMS:
		switch number := national(to); {
		case strings.HasSuffix(number, "7700900003"):
			return storage.StatusTemporaryFailure
		case strings.HasSuffix(number, "7700900002"):
			return storage.StatusPermanentFailure
		}
	case storage.Email:
		switch address(to) {
		case "temp-fail@simulator.notify":
			return storage.StatusTemporaryFailure
		case "perm-fail@simulator.notify":
			return storage.StatusPermanentFailure
		}
	}
	return storage.StatusDelivered
}

// national returns the digits of a UK number without the prefixes that it may
// be written with; the digits of any other number are left as they are or lose
// zeros, so that none becomes a simulated one.
func national(to string) string {
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, to)
	digits = strings.TrimLeft(digits, "0")
	return strings.TrimLeft(strings.TrimPrefix(digits, "44"), "0")
}

func address(to string) string { return strings.ToLower(strings.TrimSpace(to)) }
