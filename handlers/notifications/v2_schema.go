package notifications

import (
	"slices"
	"strings"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// v2Field is a member that a body may have. read takes its value, and says what
// is wrong with it.
type v2Field[T any] struct {
	name     string
	required bool
	read     func(a *API, into *T, v jsonValue) (fault string)
}

// v2Schema is what a body may consist of. It stands for one of Notify's JSON
// schemas, whose faults come in the order of its parts: each of the properties,
// those that are required and missing, those that are unknown.
type v2Schema[T any] []v2Field[T]

// read reads a body and returns all that is wrong with it, each text once.
func (s v2Schema[T]) read(a *API, into *T, body jsonValue) (wrong []string) {
	if body.falsy() {
		body = jsonValue{kind: jws.KindObject}
	}
	if body.kind != jws.KindObject {
		return []string{notOfType(body, "object")}
	}
	add := func(text string) {
		if !slices.Contains(wrong, text) {
			wrong = append(wrong, text)
		}
	}
	var missing []string
	for _, f := range s {
		v, ok := body.member(f.name)
		switch {
		case ok:
			if fault := f.read(a, into, v); fault != "" {
				add(f.name + " " + fault)
			}
		case f.required:
			missing = append(missing, f.name+" is a required property")
		}
	}
	for _, text := range missing {
		add(text)
	}
	var extra []string
	for _, name := range body.names {
		if !slices.ContainsFunc(s, func(f v2Field[T]) bool { return f.name == name }) {
			extra = append(extra, jsonValue{kind: jws.KindString, text: name}.quoted())
		}
	}
	if len(extra) > 0 {
		add(v2Unexpected(extra))
	}
	return wrong
}

// v2Unexpected is the text for names that the dialect doesn't know.
func v2Unexpected(names []string) string {
	slices.Sort(names)
	verb := "was"
	if len(names) > 1 {
		verb = "were"
	}
	list := strings.Join(names, ", ")
	if len(list) > maxQuoted {
		list = strings.ToValidUTF8(list[:maxQuoted], "") + "…"
	}
	return "Additional properties are not allowed (" + list + " " + verb + " unexpected)"
}

func notOfType(v jsonValue, types string) string {
	return v.quoted() + " is not of type " + types
}
