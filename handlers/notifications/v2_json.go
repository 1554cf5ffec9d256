package notifications

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// Limits of a body. The verifier bounds it in bytes.
const (
	maxJSONDepth  = 32
	maxJSONValues = 20_000 // members and elements, all in all
)

// jsonValue is a JSON value whose members keep their order. Of several members
// of one name the last one counts, as with Notify.
type jsonValue struct {
	kind  jws.Kind
	text  string      // of a string; a number as it is written; true or false
	names []string    // of an object
	items []jsonValue // of an array; of an object, the values of its names
}

var (
	errNotJSON  = errors.New("Invalid JSON supplied in POST data")                                                                  //nolint:staticcheck // wire text
	errTooDeep  = fmt.Errorf("JSON supplied in POST data is nested too deeply, at most %d levels are allowed", maxJSONDepth)        //nolint:staticcheck // wire text
	errTooLarge = fmt.Errorf("JSON supplied in POST data has too many members and elements, at most %d are allowed", maxJSONValues) //nolint:staticcheck // wire text
)

// readJSON reads any JSON text. Its errors are for the client.
func readJSON(data []byte) (jsonValue, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return jsonValue{}, errNotJSON
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	r := jsonReader{dec: dec, left: maxJSONValues}
	return r.value(0)
}

type jsonReader struct {
	dec  *json.Decoder
	left int
}

func (r *jsonReader) value(depth int) (jsonValue, error) {
	token, err := r.dec.Token()
	if err != nil {
		return jsonValue{}, errNotJSON
	}
	switch t := token.(type) {
	case string:
		return jsonValue{kind: jws.KindString, text: t}, nil
	case json.Number:
		return jsonValue{kind: jws.KindNumber, text: t.String()}, nil
	case bool:
		return jsonValue{kind: jws.KindBool, text: strconv.FormatBool(t)}, nil
	case json.Delim:
		if depth == maxJSONDepth {
			return jsonValue{}, errTooDeep
		}
		if t == '[' {
			return r.array(depth + 1)
		}
		return r.object(depth + 1)
	}
	return jsonValue{kind: jws.KindNull}, nil
}

func (r *jsonReader) array(depth int) (v jsonValue, err error) {
	v.kind = jws.KindArray
	for r.dec.More() {
		if r.left--; r.left < 0 {
			return v, errTooLarge
		}
		item, err := r.value(depth)
		if err != nil {
			return v, err
		}
		v.items = append(v.items, item)
	}
	_, err = r.dec.Token() // the bracket
	return v, err
}

func (r *jsonReader) object(depth int) (v jsonValue, err error) {
	v.kind = jws.KindObject
	at := map[string]int{}
	for r.dec.More() {
		if r.left--; r.left < 0 {
			return v, errTooLarge
		}
		name, err := r.value(depth)
		if err != nil {
			return v, err
		}
		item, err := r.value(depth)
		if err != nil {
			return v, err
		}
		if i, twice := at[name.text]; twice {
			v.items[i] = item
			continue
		}
		at[name.text] = len(v.names)
		v.names, v.items = append(v.names, name.text), append(v.items, item)
	}
	_, err = r.dec.Token() // the brace
	return v, err
}

// member returns a member of an object.
func (v jsonValue) member(name string) (jsonValue, bool) {
	for i, n := range v.names {
		if n == name {
			return v.items[i], true
		}
	}
	return jsonValue{}, false
}

// falsy reports whether Python takes the value for false. Notify treats such a
// body as an empty object.
func (v jsonValue) falsy() bool {
	switch v.kind {
	case jws.KindNull:
		return true
	case jws.KindBool:
		return v.text == "false"
	case jws.KindNumber:
		n, err := strconv.ParseFloat(v.text, 64)
		return err == nil && n == 0
	case jws.KindString:
		return v.text == ""
	case jws.KindArray, jws.KindObject:
	}
	return len(v.items) == 0
}

// maxQuoted bounds what a message repeats of a request, in bytes.
const maxQuoted = 4096

// quoted is a value as messages of the v2 dialect quote it: in Python's
// notation, from which Notify then removes the apostrophes.
func (v jsonValue) quoted() string {
	text := strings.ReplaceAll(v.python(), "'", "")
	if len(text) <= maxQuoted {
		return text
	}
	cut := maxQuoted
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// python is a value in Python's notation.
func (v jsonValue) python() string {
	var b strings.Builder
	v.appendPython(&b)
	return b.String()
}

func (v jsonValue) appendPython(b *strings.Builder) {
	switch v.kind {
	case jws.KindNull:
		b.WriteString("None")
	case jws.KindBool:
		b.WriteString(strings.ToUpper(v.text[:1]) + v.text[1:])
	case jws.KindNumber:
		b.WriteString(v.text)
	case jws.KindString:
		appendPythonText(b, v.text)
	case jws.KindArray:
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			item.appendPython(b)
		}
		b.WriteByte(']')
	case jws.KindObject:
		b.WriteByte('{')
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			appendPythonText(b, v.names[i])
			b.WriteString(": ")
			item.appendPython(b)
		}
		b.WriteByte('}')
	}
}

func appendPythonText(b *strings.Builder, text string) {
	quote := '\''
	if strings.Contains(text, "'") && !strings.Contains(text, `"`) {
		quote = '"'
	}
	b.WriteRune(quote)
	for _, r := range text {
		switch {
		case r == quote, r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
}
