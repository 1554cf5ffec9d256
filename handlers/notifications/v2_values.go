package notifications

import (
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

func (*API) readPersonalisation(m *v2Message, v jsonValue) string {
	values, hasFile, fault := v2Values(v)
	m.values, m.hasFile = values, hasFile
	return fault
}

// v2Values reads personalisation. Of two names that are the same placeholder the
// last one counts, and null is no value. hasFile reports whether a value is a
// file that is to be sent.
func v2Values(v jsonValue) (values message.Values, hasFile bool, fault string) {
	if v.kind != jws.KindObject {
		return values, false, notOfType(v, "object")
	}
	last := make(map[string]int, len(v.names))
	for i, name := range v.names {
		last[message.Key(name)] = i
	}
	for i, name := range v.names {
		item := v.items[i]
		if last[message.Key(name)] != i || item.kind == jws.KindNull {
			continue
		}
		if _, ok := item.member("file"); ok {
			hasFile = true
		}
		if err := values.Set(name, v2Value(item)); err != nil {
			return values, hasFile, err.Error() // can't be: every key comes once
		}
	}
	return values, hasFile, ""
}

// v2Value makes a value of anything: lists become lists, and objects, which
// nobody means to show, become text as they do with Notify.
func v2Value(v jsonValue) message.Value {
	if v.kind != jws.KindArray {
		return message.Text(v2ValueText(v))
	}
	items := make([]string, 0, len(v.items))
	for _, item := range v.items {
		if item.kind != jws.KindNull {
			items = append(items, v2ValueText(item))
		}
	}
	return message.List(items...)
}

// v2ValueText is a value as text: numbers as they are written, booleans as true
// and false. Control characters, which no phone can show, become "?".
func v2ValueText(v jsonValue) string {
	text := v.text
	if v.kind == jws.KindArray || v.kind == jws.KindObject {
		text = v.python()
	}
	if !message.HasControl(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if message.HasControl(string(r)) {
			return '?'
		}
		return r
	}, text)
}
