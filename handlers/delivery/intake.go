package delivery

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/handlers/delivery/internal/field"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// maxPosted bounds the body of what a provider posts, in bytes.
const maxPosted = 64 << 10

// postedLimits are wide: providers' receipts are large objects at times.
var postedLimits = jws.Limits{Depth: 32, Members: 1024, NestedTwins: true}

// intake takes what one provider posts: a JSON object or a form, with a secret
// or a signature.
type intake struct {
	what     string // the realm, such as "receipts"
	provider string
	secrets  [][sha256.Size]byte
	signed   func(r *http.Request, body []byte) bool
	logger   *slog.Logger
	refused  string // what is logged of a refusal
	fields   []intakeField
}

// intakeField is one of the values that are read.
type intakeField struct {
	name string
	path field.Path
}

// newIntake checks what both configurations have in common. names are the
// fields to be read, in the order in which read returns them; those that are
// empty aren't read.
func newIntake(what, provider string, secrets []string, signed func(*http.Request, []byte) bool, names ...string) (*intake, error) {
	if len(secrets) == 0 && signed == nil || slices.Contains(secrets, "") {
		return nil, fmt.Errorf("delivery: %s need a secret: without one anybody could post them", what)
	}
	in := &intake{what: what, provider: provider, signed: signed}
	for _, s := range secrets {
		in.secrets = append(in.secrets, sha256.Sum256([]byte(s)))
	}
	for _, name := range names {
		path, err := field.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("delivery: %s: %w", what, err)
		}
		in.fields = append(in.fields, intakeField{name, path})
	}
	return in, nil
}

// postedError is a refusal with its status.
type postedError struct {
	status int
	text   string
}

func (e *postedError) Error() string { return e.text }

func badPost(format string, args ...any) *postedError {
	return &postedError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// missing refuses a value that should be there.
func (in *intake) missing(i int) *postedError {
	return badPost("The field %q is missing or not a text", in.fields[i].name)
}

// refuse answers with an error. notFound is the text for storage.ErrNotFound.
func (in *intake) refuse(w http.ResponseWriter, r *http.Request, err error, notFound string) {
	refusal := &postedError{status: http.StatusInternalServerError, text: "Internal error"}
	level := slog.LevelInfo
	switch {
	case errors.As(err, &refusal):
	case errors.Is(err, storage.ErrNotFound):
		refusal = &postedError{http.StatusNotFound, notFound}
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		level = slog.LevelError
		w.Header().Set("Retry-After", "5")
		refusal = &postedError{http.StatusServiceUnavailable, "Storage is not available, try again later"}
	default:
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.String("provider", in.provider), slog.Int("status", refusal.status)}
	if level == slog.LevelError {
		attrs = append(attrs, slog.Any("error", err))
	}
	in.logger.LogAttrs(r.Context(), level, in.refused, attrs...)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(refusal.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"result": "error", "message": refusal.text})
}

// read authenticates a request and returns the values of its fields; nil stands
// for one that isn't there. Its errors are of type *postedError.
func (in *intake) read(w http.ResponseWriter, r *http.Request) ([]*string, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &postedError{http.StatusMethodNotAllowed, strings.ToUpper(in.what[:1]) + in.what[1:] + " are posted"}
	}
	if len(in.secrets) > 0 && !in.authorised(r) {
		w.Header().Add("WWW-Authenticate", `Bearer realm="`+in.what+`"`)
		w.Header().Add("WWW-Authenticate", `Basic realm="`+in.what+`"`)
		return nil, &postedError{http.StatusUnauthorized, "The " + in.what + " secret is missing or wrong"}
	}
	parse, err := in.parser(r.Header)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPosted))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &postedError{http.StatusRequestEntityTooLarge, "The body is larger than 64 KiB"}
	}
	if err != nil {
		return nil, badPost("The body could not be read")
	}
	if in.signed != nil && !in.signed(r, body) {
		return nil, &postedError{http.StatusForbidden, "The signature of the request is missing or wrong"}
	}
	return parse(body)
}

// authorised compares hashes, so that neither the length nor the first
// differing byte shows; a request without a secret is compared all the same.
func (in *intake) authorised(r *http.Request) bool {
	var secret string
	lines := r.Header.Values("Authorization")
	if len(lines) == 1 {
		if scheme, token, ok := strings.Cut(lines[0], " "); ok && strings.EqualFold(scheme, "Bearer") {
			secret = strings.TrimSpace(token)
		} else if _, password, ok := r.BasicAuth(); ok {
			secret = password
		}
	}
	got := sha256.Sum256([]byte(secret))
	same := 0
	for _, want := range in.secrets {
		same |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return same == 1
}

// parser returns the reader of the body's type.
func (in *intake) parser(header http.Header) (func([]byte) ([]*string, error), error) {
	if e := header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, &postedError{http.StatusUnsupportedMediaType, "The body must not be compressed"}
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case err != nil:
	case media == "application/x-www-form-urlencoded":
		return in.parseForm, nil
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		return in.parseJSON, nil
	}
	return nil, &postedError{http.StatusUnsupportedMediaType, "The body must be application/json or application/x-www-form-urlencoded"}
}

func (in *intake) parseForm(body []byte) ([]*string, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, badPost("The body is not a well-formed form")
	}
	values := make([]*string, len(in.fields))
	for i, f := range in.fields {
		switch found := form[f.name]; {
		case len(found) > 1:
			return nil, badPost("The field %q is there twice", f.name)
		case len(found) == 1 && f.name != "":
			values[i] = &found[0]
		}
	}
	return values, nil
}

func (in *intake) parseJSON(body []byte) ([]*string, error) {
	if err := jws.Object(body, postedLimits, func(jws.Text, jws.Value) error { return nil }); err != nil {
		return nil, badPost("The body is not a JSON object with unequal members in UTF-8 (%s)", jws.CodeOf(err))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		return nil, badPost("The body is not a JSON object")
	}
	values := make([]*string, len(in.fields))
	for i, f := range in.fields {
		if f.name == "" {
			continue
		}
		if text, ok := f.path.Text(v); ok {
			values[i] = &text
		}
	}
	return values, nil
}

// textOf is a value, or nothing.
func textOf(v *string) string {
	if v == nil {
		return ""
	}
	return *v
}

// plain reports whether a text can be stored: storages take no NUL.
func plain(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
