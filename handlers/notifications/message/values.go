package message

import (
	"fmt"
	"strings"
)

// Value is what a placeholder is replaced with: one text or a list of texts.
type Value struct {
	one  string
	list []string
	many bool
}

// Text makes a value of one text.
func Text(s string) Value { return Value{one: s} }

// List makes a value of several texts. Empty ones are left out.
func List(items ...string) Value {
	kept := make([]string, 0, len(items))
	for _, s := range items {
		if s = strings.TrimSpace(s); s != "" {
			kept = append(kept, s)
		}
	}
	return Value{list: kept, many: true}
}

// pieces hands over the value's text, and what stands between the items of a
// list.
func (v Value) pieces(s Style, write func(text string, value bool) error) error {
	if !v.many {
		return write(v.one, true)
	}
	for i, item := range v.list {
		if err := write(v.before(i, s), false); err != nil {
			return err
		}
		if err := write(item, true); err != nil {
			return err
		}
	}
	return nil
}

// before returns what stands before an item of a list.
func (v Value) before(i int, s Style) string {
	switch {
	case s == Bullets && i == 0:
		return "\n\n* "
	case s == Bullets:
		return "\n* "
	case i == 0:
		return ""
	case i == len(v.list)-1:
		return " and "
	}
	return ", "
}

// yes reports whether a condition shows its text.
func (v Value) yes() bool {
	text := v.one
	if v.many {
		if len(v.list) != 1 {
			return false
		}
		text = v.list[0]
	}
	switch strings.ToLower(text) {
	case "yes", "y", "true", "t", "1", "include", "show":
		return true
	}
	return false
}

// Values are the values of a template's placeholders, by name. The zero Values
// holds none.
type Values struct {
	byKey map[string]Value
	names []Name // in the order in which they were set
}

// Set adds a value. It fails when there is one under a name that is the same
// placeholder ("First name" and "first_name").
func (v *Values) Set(name string, value Value) error {
	key := Key(name)
	if _, twice := v.byKey[key]; twice {
		for _, n := range v.names {
			if n.Key == key {
				return fmt.Errorf("message: %q and %q are the same placeholder", n.Text, name)
			}
		}
	}
	if v.byKey == nil {
		v.byKey = make(map[string]Value)
	}
	v.byKey[key] = value
	v.names = append(v.names, Name{Text: name, Key: key})
	return nil
}

// Check compares the values with the placeholders of all the templates, which
// are the parts of one message (an email's subject and body). missing are the
// placeholders without a value, as the templates write them and in their
// order; surplus are the names of values that no template has, in the order in
// which they were set.
func (v Values) Check(templates ...*Template) (missing, surplus []string) {
	needed := make(map[string]bool)
	for _, t := range templates {
		for _, n := range t.names {
			if needed[n.Key] {
				continue
			}
			needed[n.Key] = true
			if _, ok := v.byKey[n.Key]; !ok {
				missing = append(missing, n.Text)
			}
		}
	}
	for _, n := range v.names {
		if !needed[n.Key] {
			surplus = append(surplus, n.Text)
		}
	}
	return missing, surplus
}
