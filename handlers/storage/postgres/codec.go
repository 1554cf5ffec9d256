package postgres

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// The phases of a notification in flight; see the schema.
const (
	phaseSMS      = 1
	phaseEmail    = 2
	phaseAwaiting = 3
	phaseHeld     = 4
)

var channels = []storage.Channel{1: storage.SMS, 2: storage.Email}

var statuses = []storage.Status{
	storage.StatusCreated, storage.StatusSending, storage.StatusDelivered, storage.StatusTemporaryFailure,
	storage.StatusPermanentFailure, storage.StatusTechnicalFailure, storage.StatusSent, storage.StatusPending,
}

const (
	perChannel = 8 // kinds

	// A notification that is pending is stored as one that is sending, with a
	// mark, and isn't told apart in the totals.
	codeSending    = 1
	codeSent       = 6
	codePending    = 7
	pendingSending = codePending - codeSending
)

// inFlight reports whether notifications of a kind are in outbox.
func inFlight(kind int16) bool {
	code := kind % perChannel
	return code <= codeSending || code == codePending
}

// stored returns the kind under which one is stored and counted.
func stored(kind int16) (as int16, pending bool) {
	if kind%perChannel == codePending {
		return kind - pendingSending, true
	}
	return kind, false
}

func channelCode(c storage.Channel) int16 {
	switch c {
	case storage.SMS:
		return phaseSMS
	case storage.Email:
		return phaseEmail
	}
	return 0
}

func statusCode(s storage.Status) int16 {
	for i, v := range statuses {
		if v == s {
			return int16(i) //nolint:gosec // there are eight
		}
	}
	return -1
}

func kindOf(n *storage.Notification) int16 {
	return channelCode(n.Channel)*perChannel + statusCode(n.Status)
}

func unkind(kind int16) (storage.Channel, storage.Status, error) {
	c, s := kind/perChannel, kind%perChannel
	if c < 1 || int(c) >= len(channels) || int(s) >= len(statuses) {
		return "", "", fmt.Errorf("the database holds a notification of the unknown kind %d", kind)
	}
	return channels[c], statuses[s], nil
}

func asMicro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicro(v int64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

// escape begins what PostgreSQL's text can't hold. It is no character (Unicode
// 23.7), so that hardly any text contains it.
const escape = "\ufdd0"

const hexDigits = "0123456789abcdef"

// asText returns a string as it is stored: unchanged unless it has a NUL, bytes
// that aren't UTF-8, or an escape; each of their bytes becomes an escape and two
// hexadecimal digits.
func asText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 && !strings.Contains(s, escape) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == 0 || r == utf8.RuneError && size == 1 || s[:size] == escape {
			for i := range size {
				b.WriteString(escape)
				b.WriteByte(hexDigits[s[i]>>4])
				b.WriteByte(hexDigits[s[i]&15])
			}
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// fromText reverses asText.
func fromText(s string) string {
	i := strings.Index(s, escape)
	if i < 0 {
		return s
	}
	var b strings.Builder
	for ; i >= 0; i = strings.Index(s, escape) {
		b.WriteString(s[:i])
		s = s[i+len(escape):]
		if len(s) < 2 {
			break
		}
		high, low := strings.IndexByte(hexDigits, s[0]), strings.IndexByte(hexDigits, s[1])
		if high >= 0 && low >= 0 {
			b.WriteByte(byte(high<<4 | low))
		}
		s = s[2:]
	}
	b.WriteString(s)
	return b.String()
}
