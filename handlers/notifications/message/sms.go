package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxSMS is the length of the longest text message, in characters: six
// fragments of 153.
const MaxSMS = 918

const (
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = `^{}\[~]|€`
	// Vowels that Welsh needs. Those that GSM-7 lacks cost the whole message
	// the larger alphabet.
	welsh = "àèìòùẁỳÀÈÌÒÙẀỲáéíóúẃýÁÉÍÓÚẂÝäëïöüẅÿÄËÏÖÜẄŸâêîôûŵŷÂÊÎÔÛŴŶ"
)

// weight of a character in a message: 1 or 2 septets of GSM-7, or outside it.
type weight uint8

const (
	unsupported weight = iota
	single
	double
	wide // needs UCS-2
)

var (
	ascii    [utf8.RuneSelf]weight
	alphabet = makeAlphabet()
)

func makeAlphabet() map[rune]weight {
	m := make(map[rune]weight)
	for _, r := range welsh {
		m[r] = wide
	}
	for _, r := range gsmBasic {
		m[r] = single
	}
	for _, r := range gsmExtended {
		m[r] = double
	}
	for r, w := range m {
		if r < utf8.RuneSelf {
			ascii[r] = w
		}
	}
	return m
}

func weightOf(r rune) weight {
	if r < utf8.RuneSelf {
		return ascii[r]
	}
	return alphabet[r]
}

// replacements are characters with a GSM-7 spelling of their own.
var replacements = map[rune]string{
	'–': "-", '—': "-", '‐': "-", '‑': "-", '‒': "-", '―': "-", '−': "-",
	'‘': "'", '’': "'", '‚': "'", '‛': "'",
	'“': `"`, '”': `"`, '„': `"`, '‟': `"`,
	'…':  "...",
	'\t': " ", '\u00a0': " ", '\u202f': " ",
	'\u00ad': "", '\u180e': "", '\u200b': "", '\u200c': "", '\u200d': "", '\u2060': "", '\ufeff': "",
}

// SMS makes the text of a text message from a rendered template: it tidies the
// white space, then leaves only what a phone can show. GSM-7 with its
// extension and the Welsh vowels stay; dashes, quotes and the like become
// their plain forms, zero-width characters go, other accents go from their
// letters, and anything else becomes one "?" per code point.
func SMS(text string) string {
	text = tidy(text)
	if plainGSM(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for _, r := range norm.NFC.String(text) {
		if weightOf(r) != unsupported {
			b.WriteRune(r)
			continue
		}
		if s, ok := replacements[r]; ok {
			b.WriteString(s)
			continue
		}
		b.WriteString(base(r))
	}
	// Dropped characters may have stood between or around spaces.
	return tidy(b.String())
}

func plainGSM(text string) bool {
	for i := range len(text) {
		if c := text[i]; c >= utf8.RuneSelf || ascii[c] == unsupported {
			return false
		}
	}
	return true
}

// base returns the letter below a character's accents, nothing for an accent
// alone, and "?" for all that a phone can't show.
func base(r rune) string {
	if r >= '\u0300' && r <= '\u036f' { // combining accents that no composed letter has
		return ""
	}
	if p := norm.NFD.PropertiesString(string(r)).Decomposition(); len(p) > 0 {
		if first, _ := utf8.DecodeRune(p); weightOf(first) != unsupported {
			return string(first)
		}
	}
	return "?"
}

// Characters counts a text as MaxSMS does: in code points.
func Characters(text string) int { return utf8.RuneCountInString(text) }

// Fragments returns how many parts a phone network sends a text in: 0 for no
// text. With a character outside GSM-7 a part holds 70 characters, 67 when
// there are several; otherwise 160 and 153, where each character of the GSM-7
// extension counts twice. The text is what SMS returns.
func Fragments(text string) int {
	if text == "" {
		return 0
	}
	septets, characters, ucs2 := 0, 0, false
	for _, r := range text {
		characters++
		switch weightOf(r) {
		case single:
			septets++
		case double:
			septets += 2
		case wide, unsupported:
			ucs2 = true
		}
	}
	if ucs2 {
		return parts(characters, 70, 67)
	}
	return parts(septets, 160, 153)
}

func parts(n, alone, together int) int {
	if n <= alone {
		return 1
	}
	return (n + together - 1) / together
}
