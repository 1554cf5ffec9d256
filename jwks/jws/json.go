package jws

import "math"

// Kind is the type of a JSON value.
type Kind uint8

// The kinds.
const (
	KindNull Kind = iota
	KindBool
	KindNumber
	KindString
	KindObject
	KindArray
)

// Default limits of [Limits].
const (
	DefaultDepth   = 8
	DefaultMembers = 256
	// maxDepth bounds the reader's own recursion.
	maxDepth = 512
	// maxText bounds offsets, in bytes.
	maxText = math.MaxInt32
)

// Limits bound what a JSON text may hold.
type Limits struct {
	// Depth is how deep objects and arrays may be nested, the outermost
	// included. Default, when 0: 8. At most 512.
	Depth int
	// Members is the number of object members and array elements of the whole
	// text. Default, when 0: 256. The time to find duplicates grows with its
	// square.
	Members int
	// NestedTwins allows names that differ in case only in objects below the
	// outermost, where names are data.
	NestedTwins bool
}

// Value is a JSON value, a slice of the text that was read. It has been
// checked whole, nested values included.
type Value struct {
	Kind   Kind
	Raw    []byte // with a string's quotes
	Offset int    // in bytes, of Raw in the text

	escaped bool
}

// Object reads data, which must be one JSON object and nothing else but blanks
// around it, and calls visit for each of its members in order, when the member
// has been read. It refuses what RFC 8259 refuses, and besides: invalid UTF-8,
// half surrogate pairs, duplicate member names (after escapes are resolved),
// names that are equal under Unicode simple case folding, and what exceeds the
// limits. Its own errors are [*Error]; those of visit end the reading and are
// returned as they are.
func Object(data []byte, limits Limits, visit func(name Text, value Value) error) error {
	var s scanner
	s.begin(data, limits)
	if s.peek() != '{' {
		return s.notA("object")
	}
	for more := s.open('}'); more; more = s.more('}') {
		name, ok := s.name(0)
		if !ok {
			return s.err
		}
		value, ok := s.value()
		if !ok {
			return s.err
		}
		if err := visit(name, value); err != nil {
			return err
		}
	}
	return s.finish()
}

// Array reads data like Object, but as one array.
func Array(data []byte, limits Limits, visit func(index int, value Value) error) error {
	var s scanner
	s.begin(data, limits)
	if s.peek() != '[' {
		return s.notA("array")
	}
	i := 0
	for more := s.open(']'); more; more = s.more(']') {
		value, ok := s.value()
		if !ok {
			return s.err
		}
		if err := visit(i, value); err != nil {
			return err
		}
		i++
	}
	return s.finish()
}

// scanner reads one text. Its methods return false after they have set err.
type scanner struct {
	data    []byte
	pos     int
	depth   int // how many more levels are allowed
	members int // how many more members are allowed
	twins   bool
	err     error
	names   int // how many names are kept, of the objects that are open, outermost first
	few     [fewNames]spelling
	many    []spelling // those after the first few
}

// fewNames is how many member names are kept without allocating.
const fewNames = 16

// spelling is a member name that has been seen: where it is, and the hash of
// its folded form.
type spelling struct {
	start, end uint32
	hash       uint32
	escaped    bool
}

func (s *scanner) seen(i int) *spelling {
	if i < fewNames {
		return &s.few[i]
	}
	return &s.many[i-fewNames]
}

// keep adds a name. Those beyond names are of objects that are closed.
func (s *scanner) keep(name spelling) {
	if s.names >= fewNames {
		s.many = append(s.many[:s.names-fewNames], name)
	} else {
		s.few[s.names] = name
	}
	s.names++
}

func (s *scanner) begin(data []byte, limits Limits) {
	s.data = data
	s.depth, s.members, s.twins = limits.Depth, limits.Members, limits.NestedTwins
	if s.depth <= 0 {
		s.depth = DefaultDepth
	}
	s.depth = min(s.depth, maxDepth)
	if s.members <= 0 {
		s.members = DefaultMembers
	}
	if len(data) > maxText {
		s.data = nil
		s.fail(CodeLength, "the JSON text is too long")
	}
	s.blanks()
}

func (s *scanner) finish() error {
	if s.err != nil {
		return s.err
	}
	s.blanks()
	if s.pos < len(s.data) {
		s.fail(CodeSyntax, "bytes follow the JSON text")
	}
	return s.err
}

// notA finds out whether the text is JSON of another kind.
func (s *scanner) notA(kind string) error {
	at := s.pos
	if _, ok := s.value(); !ok {
		return s.err
	}
	if err := s.finish(); err != nil {
		return err
	}
	return &Error{Code: CodeNotObject, Offset: at, text: "the JSON text is no " + kind}
}

func (s *scanner) fail(code Code, text string) bool {
	if s.err == nil {
		s.err = &Error{Code: code, Offset: s.pos, text: text}
	}
	return false
}

// peek returns the next byte, or 0, which no JSON text has outside strings.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) blanks() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// open steps into an object or array and reports whether it has something in
// it; closed ends it.
func (s *scanner) open(closer byte) bool {
	if s.depth--; s.depth < 0 {
		return s.fail(CodeDepth, "the JSON text is nested too deeply")
	}
	s.pos++
	s.blanks()
	if s.peek() == closer {
		s.pos++
		s.depth++
		return false
	}
	return s.count()
}

// more steps over a comma, or over the closer, and reports whether it was a
// comma.
func (s *scanner) more(closer byte) bool {
	s.blanks()
	switch s.peek() {
	case ',':
		s.pos++
		s.blanks()
		return s.count()
	case closer:
		s.pos++
		s.depth++
		return false
	}
	return s.fail(CodeSyntax, "a comma or the end of an object or array is missing")
}

func (s *scanner) count() bool {
	if s.members--; s.members < 0 {
		return s.fail(CodeMembers, "the JSON text has too many members")
	}
	return true
}

// name reads a member's name and the colon. own is where this object's names
// begin.
func (s *scanner) name(own int) (Text, bool) {
	if s.peek() != '"' {
		return Text{}, s.fail(CodeSyntax, "a member's name is missing")
	}
	at := s.pos
	escaped, ok := s.text()
	if !ok {
		return Text{}, false
	}
	name := Text{raw: s.data[at+1 : s.pos-1], escaped: escaped}
	if !s.unique(name, at+1, own) {
		return Text{}, false
	}
	s.blanks()
	if s.peek() != ':' {
		return Text{}, s.fail(CodeSyntax, "the colon after a member's name is missing")
	}
	s.pos++
	s.blanks()
	return name, true
}

func (s *scanner) unique(name Text, start, own int) bool {
	hash := name.foldedHash()
	for i := own; i < s.names; i++ {
		other := s.seen(i)
		if other.hash != hash {
			continue
		}
		switch same, twin := name.compare(Text{raw: s.data[other.start:other.end], escaped: other.escaped}); {
		case same:
			return s.fail(CodeDuplicate, "two members have one name")
		case twin && (own == 0 || !s.twins):
			return s.fail(CodeCaseTwin, "two members have names that differ in case only")
		}
	}
	s.keep(spelling{
		start: uint32(start),                 //nolint:gosec // begin bounds the length
		end:   uint32(start + len(name.raw)), //nolint:gosec // begin bounds the length
		hash:  hash, escaped: name.escaped,
	})
	return true
}

// value reads any value.
func (s *scanner) value() (Value, bool) {
	v := Value{Offset: s.pos}
	var ok bool
	switch c := s.peek(); c {
	case '{':
		v.Kind = KindObject
		s.object()
		ok = s.err == nil
	case '[':
		v.Kind = KindArray
		for more := s.open(']'); more; more = s.more(']') {
			if _, ok := s.value(); !ok {
				break
			}
		}
		ok = s.err == nil
	case '"':
		v.Kind = KindString
		v.escaped, ok = s.text()
	case 't':
		v.Kind = KindBool
		ok = s.word("true")
	case 'f':
		v.Kind = KindBool
		ok = s.word("false")
	case 'n':
		ok = s.word("null")
	default:
		v.Kind = KindNumber
		ok = s.number()
	}
	if !ok {
		return Value{}, false
	}
	v.Raw = s.data[v.Offset:s.pos]
	return v, true
}

func (s *scanner) object() {
	own := s.names
	for more := s.open('}'); more; more = s.more('}') {
		if _, ok := s.name(own); !ok {
			return
		}
		if _, ok := s.value(); !ok {
			return
		}
	}
	s.names = own
}

func (s *scanner) word(word string) bool {
	end := s.pos + len(word)
	if end > len(s.data) || string(s.data[s.pos:end]) != word {
		return s.fail(CodeSyntax, "a JSON value is missing")
	}
	s.pos = end
	return true
}
