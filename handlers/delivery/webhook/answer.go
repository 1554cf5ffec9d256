package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/delivery/internal/field"
	"github.com/signpost-gateway/signpost/handlers/outgoing"
)

// maxReference bounds a provider's reference, in bytes.
const maxReference = 255

// permanent are the statuses by which a provider refuses the message itself.
// Others of the 4xx class, such as 401, 403 and 404, speak of credentials and
// addresses, which an operator can mend while the notifications wait; and 409
// may say that the first attempt is still being worked on.
var permanent = []int{
	http.StatusBadRequest, http.StatusNotAcceptable, http.StatusGone,
	http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	http.StatusUnprocessableEntity, http.StatusUnavailableForLegalReasons,
}

// refusal reads an answer with an unexpected status.
func (p *Provider) refusal(res *http.Response, answer []byte) *delivery.SendError {
	status := res.StatusCode
	e := &delivery.SendError{Reason: fmt.Sprintf("the provider answered %d", status)}
	mendable := false
	if p.twilio {
		mendable = explainTwilio(e, answer)
	}
	switch {
	case slices.Contains(permanent, status) && !mendable:
		e.Permanent = true
		return e
	case status >= 300 && status < 400:
		e.Reason += "; redirects are not followed"
	case status < 300:
		e.Reason += ", which is not an expected status"
	}
	e.RetryAfter = outgoing.RetryAfter(res.Header, time.Now)
	return e
}

// find returns the text at a path of a JSON answer; empty when it isn't there
// or can't be a reference.
func find(answer []byte, path field.Path) string {
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return ""
	}
	s, _ := path.Text(v)
	if len(s) > maxReference || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}
