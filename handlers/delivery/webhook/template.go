package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

// placeholders that a template may hold.
var placeholders = map[string]func(delivery.Message) string{
	"to":        func(m delivery.Message) string { return m.To },
	"message":   func(m delivery.Message) string { return m.Body },
	"subject":   func(m delivery.Message) string { return m.Subject },
	"reference": func(m delivery.Message) string { return m.Reference },
	"sender":    func(m delivery.Message) string { return m.Sender },
	"from":      func(m delivery.Message) string { return m.From },
	"reply_to":  func(m delivery.Message) string { return m.ReplyTo },
	"service": func(m delivery.Message) string {
		if m.ServiceName != "" {
			return m.ServiceName
		}
		return m.ServiceID
	},
	"channel":         func(m delivery.Message) string { return string(m.Channel) },
	"unsubscribe_url": func(m delivery.Message) string { return m.UnsubscribeURL },
}

// text is a parsed template: literals and placeholders in turn. Values are
// inserted as they are and never looked at again.
type text []part

type part struct {
	literal string
	value   func(delivery.Message) string // nil for a literal
}

// parseText reads a template. "{{" and "}}" stand for braces.
func parseText(s string) (text, error) {
	var out text
	var literal strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			literal.WriteString(s)
			break
		}
		literal.WriteString(s[:i])
		brace := s[i]
		s = s[i+1:]
		if s != "" && s[0] == brace {
			literal.WriteByte(brace)
			s = s[1:]
			continue
		}
		name, rest, closed := strings.Cut(s, "}")
		if brace == '}' || !closed {
			return nil, errors.New("a lone brace; write {{ or }} for a brace itself")
		}
		value, known := placeholders[name]
		if !known {
			return nil, fmt.Errorf("unknown placeholder {%s}; known are {%s}; write {{ or }} for a brace itself",
				name, strings.Join(slices.Sorted(maps.Keys(placeholders)), "}, {"))
		}
		out = append(out, part{literal: literal.String()}, part{value: value})
		literal.Reset()
		s = rest
	}
	return append(out, part{literal: literal.String()}), nil
}

func (t text) fill(m delivery.Message) string {
	var b strings.Builder
	for _, p := range t {
		if p.value != nil {
			b.WriteString(p.value(m))
		} else {
			b.WriteString(p.literal)
		}
	}
	return b.String()
}

// payload is a body template.
type payload interface {
	render(m delivery.Message) ([]byte, error)
	contentType() string
}

// defaultFields make the body when none is configured.
var defaultFields = map[string]string{
	"to": "{to}", "message": "{message}", "reference": "{reference}", "channel": "{channel}",
}

// member is one that a body has only when it has a value.
type member struct {
	name  string
	value func(delivery.Message) string // empty: left out
}

// defaultMembers join defaultFields.
var defaultMembers = []member{
	{"subject", placeholders["subject"]},
	{"from", placeholders["from"]},
	{"reply_to", placeholders["reply_to"]},
	{"unsubscribe_url", placeholders["unsubscribe_url"]},
}

func parsePayload(format Format, fields map[string]string, members []member, body string) (payload, error) {
	if body != "" {
		if format == Form || len(fields) > 0 {
			return nil, errors.New("webhook: a body document is JSON and excludes fields")
		}
		return parseDocument(body)
	}
	p := fieldsPayload{form: format == Form, members: members, fields: make(map[string]text)}
	if len(fields) == 0 {
		fields, p.members = defaultFields, defaultMembers
	}
	for name, template := range fields {
		t, err := parseText(template)
		if err != nil {
			return nil, fmt.Errorf("webhook: field %q: %w", name, err)
		}
		if name == "" {
			return nil, errors.New("webhook: a field has no name")
		}
		p.fields[name] = t
	}
	return p, nil
}

// fieldsPayload is a flat object or a form.
type fieldsPayload struct {
	fields  map[string]text
	members []member
	form    bool
}

func (p fieldsPayload) render(m delivery.Message) ([]byte, error) {
	out := make(map[string]string, len(p.fields)+len(p.members))
	for name, t := range p.fields {
		out[name] = t.fill(m)
	}
	for _, o := range p.members {
		if value := o.value(m); value != "" {
			out[o.name] = value
		}
	}
	if !p.form {
		return marshal(out)
	}
	form := make(url.Values, len(out))
	for name, value := range out {
		form.Set(name, value)
	}
	return []byte(form.Encode()), nil
}

func (p fieldsPayload) contentType() string {
	if p.form {
		return "application/x-www-form-urlencoded"
	}
	return "application/json"
}

// document is any JSON value whose strings are templates.
type document struct{ root any }

func parseDocument(s string) (payload, error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("webhook: the body is not JSON: %w (placeholders belong inside strings)", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("webhook: the body has something after its JSON value")
	}
	root, err := parseStrings(v)
	if err != nil {
		return nil, fmt.Errorf("webhook: body: %w", err)
	}
	return document{root}, nil
}

// parseStrings replaces the strings of a decoded JSON value by templates.
func parseStrings(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case string:
		return parseText(v)
	case []any:
		for i := range v {
			if v[i], err = parseStrings(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range v {
			if v[name], err = parseStrings(v[name]); err != nil {
				return nil, fmt.Errorf("%q: %w", name, err)
			}
		}
	}
	return v, nil
}

func fillStrings(v any, m delivery.Message) any {
	switch v := v.(type) {
	case text:
		return v.fill(m)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = fillStrings(v[i], m)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = fillStrings(v[name], m)
		}
		return out
	}
	return v
}

func (d document) render(m delivery.Message) ([]byte, error) { return marshal(fillStrings(d.root, m)) }

func (document) contentType() string { return "application/json" }

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
