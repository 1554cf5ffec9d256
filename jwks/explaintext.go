package jwks

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// quote makes text of a token or a key set fit for a terminal: in quotes,
// shortened, with escapes for what isn't printable.
func quote(s string) string { return strconv.Quote(clip(s)) }

func quoteAll(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = quote(s)
	}
	return strings.Join(quoted, ", ")
}

// counted is a number with what is counted, in the plural if it must be.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// distance says in words how far a time is from now, in the two largest units.
// Beyond 292 years it says no more than that.
func distance(t, now time.Time) string {
	d := t.Sub(now)
	words := span(d.Abs())
	switch {
	case d == 0:
		return "this very moment"
	case d > 0:
		return "in " + words
	default:
		return words + " ago"
	}
}

func span(d time.Duration) string {
	const day = 24 * time.Hour
	if d < time.Second {
		return "less than a second"
	}
	if d > 290*365*day {
		return "more than 290 years"
	}
	units := []struct {
		size time.Duration
		name string
	}{{365 * day, "year"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}}
	for i, u := range units {
		n := d / u.size
		if n == 0 {
			continue
		}
		text := counted(int(n), u.name)
		if i+1 < len(units) {
			next := units[i+1]
			if rest := (d % u.size) / next.size; rest > 0 {
				return fmt.Sprintf("%s %s", text, counted(int(rest), next.name))
			}
		}
		return text
	}
	return "less than a second"
}
