package caddymodule

import (
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// The readers below take the one argument of the option that the dispenser
// stands at. Their errors carry file and line. An option that is given twice is
// an error too: one of the two would be lost.

func textOption(d *caddyfile.Dispenser, to *string) error {
	if err := onlyOnce(d, to); err != nil {
		return err
	}
	if !d.AllArgs(to) {
		return d.ArgErr()
	}
	return nil
}

// onlyOnce refuses an option that has a value already.
func onlyOnce[T comparable](d *caddyfile.Dispenser, to *T) error {
	var unset T
	if *to != unset {
		return d.Errf("%s is given twice", d.Val())
	}
	return nil
}

func wordOption(d *caddyfile.Dispenser, to *string, words ...string) error {
	name := d.Val()
	if err := textOption(d, to); err != nil {
		return err
	}
	if !slices.Contains(words, *to) {
		return d.Errf("%s %q: it must be one of: %s", name, *to, strings.Join(words, ", "))
	}
	return nil
}

func secretOption(d *caddyfile.Dispenser, to *Secret) error {
	return textOption(d, (*string)(to))
}

// boolOption reads on or off where off is the default.
func boolOption(d *caddyfile.Dispenser, to *bool) error {
	var on *bool
	if err := switchOption(d, &on); err != nil {
		return err
	}
	*to = *on
	return nil
}

// switchOption reads on or off.
func switchOption(d *caddyfile.Dispenser, to **bool) error {
	if err := onlyOnce(d, to); err != nil {
		return err
	}
	var word string
	if err := wordOption(d, &word, "on", "off"); err != nil {
		return err
	}
	on := word == "on"
	*to = &on
	return nil
}

// flagOption reads a word that stands alone.
func flagOption(d *caddyfile.Dispenser, to *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*to = true
	return nil
}

// wordsOption reads one argument or more, and adds them.
func wordsOption(d *caddyfile.Dispenser, to *[]string) error {
	words := d.RemainingArgs()
	if len(words) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, words...)
	return nil
}

func durationOption(d *caddyfile.Dispenser, to *caddy.Duration) error {
	if err := onlyOnce(d, to); err != nil {
		return err
	}
	name := d.Val()
	var text string
	if err := textOption(d, &text); err != nil {
		return err
	}
	v, err := caddy.ParseDuration(text)
	if err != nil {
		return d.Errf("%s %q: %v", name, text, err)
	}
	if v <= 0 {
		return d.Errf("%s %q: it must be more than 0", name, text)
	}
	*to = caddy.Duration(v)
	return nil
}

func sizeOption(d *caddyfile.Dispenser, to *int64) error {
	if err := onlyOnce(d, to); err != nil {
		return err
	}
	name := d.Val()
	var text string
	if err := textOption(d, &text); err != nil {
		return err
	}
	v, err := humanize.ParseBytes(text)
	if err != nil || v == 0 || v > 1<<40 {
		return d.Errf("%s %q: it must be a size such as 1MiB", name, text)
	}
	*to = int64(v)
	return nil
}

func countOption(d *caddyfile.Dispenser, to *int64) error {
	if err := onlyOnce(d, to); err != nil {
		return err
	}
	name := d.Val()
	var text string
	if err := textOption(d, &text); err != nil {
		return err
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 {
		return d.Errf("%s %q: it must be a whole number, 0 or more", name, text)
	}
	*to = v
	return nil
}

// numberOption reads a whole number within limits.
func numberOption(d *caddyfile.Dispenser, to *int, least, most int) error {
	name, n := d.Val(), int64(*to)
	if err := countOption(d, &n); err != nil {
		return err
	}
	if n < int64(least) || n > int64(most) {
		return d.Errf("%s %d: it must be between %d and %d", name, n, least, most)
	}
	*to = int(n)
	return nil
}

// unknownOption names the words that would have been right.
func unknownOption(d *caddyfile.Dispenser, where string, known ...string) error {
	return d.Errf("%s has no option %q; it has: %s", where, d.Val(), strings.Join(known, ", "))
}
