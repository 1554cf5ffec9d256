package delivery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks/jws"
)

// receiptLimits are wide: providers' receipts are large objects at times.
var receiptLimits = jws.Limits{Depth: 32, Members: 1024, NestedTwins: true}

// report is what a receipt's body says, as it stands there.
type report struct{ reference, status, reason string }

// read returns the status word and the receipt without its status. Its errors
// are of type *receiptError.
func (h *Receipts) read(w http.ResponseWriter, r *http.Request) (string, storage.Receipt, error) {
	parse, err := h.parser(r.Header)
	if err != nil {
		return "", storage.Receipt{}, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReceipt))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return "", storage.Receipt{}, &receiptError{http.StatusRequestEntityTooLarge, "The body is larger than 64 KiB"}
	}
	if err != nil {
		return "", storage.Receipt{}, badReceipt("The body could not be read")
	}
	if h.cfg.Signed != nil && !h.cfg.Signed(r, body) {
		return "", storage.Receipt{}, &receiptError{http.StatusForbidden, "The receipt's signature is missing or wrong"}
	}
	rep, err := parse(body)
	if err != nil {
		return "", storage.Receipt{}, err
	}
	if rep.reference == "" || strings.ContainsRune(rep.reference, 0) || !utf8.ValidString(rep.reference) {
		return "", storage.Receipt{}, badReceipt("The field %q is missing or not a text", h.cfg.ReferenceField)
	}
	if rep.status == "" {
		return "", storage.Receipt{}, badReceipt("The field %q is missing or not a text", h.cfg.StatusField)
	}
	return statusWord(rep.status), storage.Receipt{
		Sender:    h.cfg.Sender,
		Reference: rep.reference,
		Reason:    scrub(rep.reason),
		At:        h.cfg.Now(),
	}, nil
}

func badReceipt(format string, args ...any) *receiptError {
	return &receiptError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// parser returns the reader of the body's type.
func (h *Receipts) parser(header http.Header) (func([]byte) (report, error), error) {
	if e := header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, &receiptError{http.StatusUnsupportedMediaType, "The body must not be compressed"}
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case err != nil:
	case media == "application/x-www-form-urlencoded":
		return h.parseForm, nil
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		return h.parseJSON, nil
	}
	return nil, &receiptError{http.StatusUnsupportedMediaType, "The body must be application/json or application/x-www-form-urlencoded"}
}

func (h *Receipts) parseForm(body []byte) (rep report, err error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return rep, badReceipt("The body is not a well-formed form")
	}
	for name, into := range map[string]*string{
		h.cfg.ReferenceField: &rep.reference,
		h.cfg.StatusField:    &rep.status,
		h.cfg.ReasonField:    &rep.reason,
	} {
		if len(form[name]) > 1 {
			return rep, badReceipt("The field %q is there twice", name)
		}
		*into = form.Get(name)
	}
	return rep, nil
}

func (h *Receipts) parseJSON(body []byte) (rep report, err error) {
	if err := jws.Object(body, receiptLimits, func(jws.Text, jws.Value) error { return nil }); err != nil {
		return rep, badReceipt("The body is not a JSON object with unequal members in UTF-8 (%s)", jws.CodeOf(err))
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		return rep, badReceipt("The body is not a JSON object")
	}
	rep.reference, _ = h.reference.Text(v)
	rep.status, _ = h.status.Text(v)
	rep.reason, _ = h.reason.Text(v)
	return rep, nil
}
