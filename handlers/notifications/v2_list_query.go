package notifications

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifications/message"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// Names of the parameters of lists.
const (
	paramReference   = "reference"
	paramStatus      = "status"
	paramType        = "template_type"
	paramIncludeJobs = "include_jobs"
	paramOlderThan   = "older_than"
)

// The words that parameters may have, in Notify's order.
var (
	v2Types    = []string{"sms", "email", "letter"}
	v2Statuses = []string{
		"cancelled", "created", "sending", "sent", "delivered", "pending", "failed", "technical-failure",
		"temporary-failure", "permanent-failure", "pending-virus-check", "validation-failed",
		"virus-scan-failed", "returned-letter", "accepted", "received",
	}
	v2IncludeJobs = []string{"true", "True"}
)

// v2Failed is what the status "failed" asks for.
var v2Failed = []storage.Status{storage.StatusTechnicalFailure, storage.StatusTemporaryFailure, storage.StatusPermanentFailure}

// v2Filter is what the query string of a list asks for.
type v2Filter struct {
	statuses, types []string // words as they were asked for, each once
	reference       string
	includeJobs     string
	olderThan       uuid.NullUUID
}

// v2Query reads a query string and collects what is wrong with it, each text
// once.
type v2Query struct {
	values url.Values
	wrong  []string
}

func parseV2Query(rawQuery string) (*v2Query, *refusal) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, v2Bad(codeInvalidQuery, "The query string is malformed")
	}
	return &v2Query{values: values}, nil
}

func parseV2Filter(rawQuery string) (f v2Filter, ref *refusal) {
	q, ref := parseV2Query(rawQuery)
	if ref != nil {
		return f, ref
	}
	f.reference = q.values.Get(paramReference)
	f.statuses = q.words(paramStatus, v2Statuses)
	f.types = q.words(paramType, v2Types)
	f.includeJobs = q.word(paramIncludeJobs, v2IncludeJobs)
	f.olderThan = q.uuid(paramOlderThan)
	return f, q.refusal(paramReference, paramStatus, paramType, paramIncludeJobs, paramOlderThan)
}

// words reads a parameter that may come several times. A list that is longer
// than that of the words holds one that isn't among them, and is cut.
func (q *v2Query) words(name string, among []string) (words []string) {
	for _, w := range q.values[name] {
		if slices.Contains(words, w) {
			continue
		}
		words = append(words, w)
		if !slices.Contains(among, w) {
			q.wrong = append(q.wrong, name+" "+notOneOf(w, among))
		}
		if len(words) > len(among) {
			break
		}
	}
	return words
}

// word reads a parameter that comes once; of several the first one counts.
func (q *v2Query) word(name string, among []string) string {
	if !q.values.Has(name) {
		return ""
	}
	w := q.values.Get(name)
	if !slices.Contains(among, w) {
		q.wrong = append(q.wrong, name+" "+notOneOf(w, among))
	}
	return w
}

func (q *v2Query) uuid(name string) uuid.NullUUID {
	id, ok := parseUUID(q.values.Get(name))
	if !ok && q.values.Has(name) {
		q.wrong = append(q.wrong, name+" "+textNotUUID)
	}
	return uuid.NullUUID{UUID: id, Valid: ok}
}

// refusal is for all that is wrong, parameters of other names included.
func (q *v2Query) refusal(names ...string) *refusal {
	var extra []string
	for name := range q.values {
		if !slices.Contains(names, name) {
			extra = append(extra, quotedText(name))
		}
	}
	if len(extra) > 0 {
		q.wrong = append(q.wrong, v2Unexpected(extra))
	}
	if len(q.wrong) > 0 {
		return v2Invalid(codeInvalidQuery, q.wrong...)
	}
	return nil
}

func notOneOf(word string, among []string) string {
	return quotedText(word) + " is not one of [" + strings.Join(among, ", ") + "]"
}

func quotedText(text string) string { return jsonValue{kind: jws.KindString, text: text}.quoted() }

// storageQuery is the filter in the words of storage. possible is false when
// nothing can match: there are no letters, and states of theirs neither.
func (f *v2Filter) storageQuery() (q storage.Query, possible bool) {
	for _, word := range f.types {
		if c := storage.Channel(word); c.Known() {
			q.Channels = append(q.Channels, c)
		}
	}
	for _, word := range f.statuses {
		matching := v2Failed
		if s := storage.Status(word); s.Rank() >= 0 {
			matching = []storage.Status{s}
		} else if word != "failed" {
			continue
		}
		for _, s := range matching {
			if !slices.Contains(q.Statuses, s) {
				q.Statuses = append(q.Statuses, s)
			}
		}
	}
	q.Reference = f.reference
	possible = (len(f.types) == 0 || len(q.Channels) > 0) &&
		(len(f.statuses) == 0 || len(q.Statuses) > 0) &&
		canBeReference(f.reference)
	return q, possible
}

// canBeReference reports whether a POST would take the text.
func canBeReference(text string) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= maxReference && !message.HasControl(text)
}

// cursor is how Notify's Python client finds the cursor in the link to the next
// page: the first match is it, wherever it is.
var cursor = regexp.MustCompile(`(?i)[0-F]{8}-[0-F]{4}-[0-F]{4}-[0-F]{4}-[0-F]{12}`)

// links are those of a page at an address; last is the page's last object,
// which is not valid when the page is empty.
func (f *v2Filter) links(list string, last uuid.NullUUID) v2Links {
	l := v2Links{Current: list + f.query(f.olderThan)}
	if last.Valid {
		l.Next = list + f.query(last)
	}
	return l
}

// query is the query string of a page, with its question mark: the filters, and
// older_than last.
func (f *v2Filter) query(olderThan uuid.NullUUID) string {
	var b strings.Builder
	add := func(name, value string) {
		if b.Len() == 0 {
			b.WriteByte('?')
		} else {
			b.WriteByte('&')
		}
		b.WriteString(name + "=" + value)
	}
	for _, word := range f.types {
		add(paramType, word)
	}
	for _, word := range f.statuses {
		add(paramStatus, word)
	}
	if f.includeJobs != "" {
		add(paramIncludeJobs, f.includeJobs)
	}
	if f.reference != "" {
		reference := url.QueryEscape(f.reference)
		if cursor.MatchString(reference) {
			// Without hyphens no client takes a part of it for the cursor.
			reference = strings.ReplaceAll(reference, "-", "%2D")
		}
		add(paramReference, reference)
	}
	if olderThan.Valid {
		add(paramOlderThan, olderThan.UUID.String())
	}
	return b.String()
}
