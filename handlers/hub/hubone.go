package hub

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

const (
	typeJSON = "application/json"
	// maxSign has room for the longest JWT and the JSON around it, in bytes.
	maxSign = jws.MaxDocument + 4<<10
	// maxCertificatesBody is the longest body of a question for certificates, in
	// bytes. It says nothing.
	maxCertificatesBody = 4 << 10
	// statusTimeout is how long a signer may take to say whether there is a card.
	statusTimeout = 5 * time.Second
)

// serveHubOne answers hub/1.
func (h *Hub) serveHubOne(w http.ResponseWriter, r *http.Request, origin, name string) {
	switch name {
	case "info":
		if allowMethods(w, r, http.MethodGet) {
			h.serveInfo(w, r)
		}
	case "certificates":
		if allowMethods(w, r, http.MethodPost) {
			h.serveCertificates(w, r, origin)
		}
	case "sign":
		if allowMethods(w, r, http.MethodPost) {
			h.serveSign(w, r, origin)
		}
	default:
		h.notFound(w)
	}
}

// serveInfo tells no personal data, and needs no consent.
func (h *Hub) serveInfo(w http.ResponseWriter, r *http.Request) {
	status := h.status(r.Context())
	writeJSON(w, http.StatusOK, struct {
		Version    string    `json:"version"`
		Name       string    `json:"name"`
		Algorithms []string  `json:"algorithms"`
		Card       CardState `json:"card"`
	}{"1", h.config.Name, status.Algorithms, status.Card})
}

// status asks the signer, and ends the consents to show certificates when there
// is no card. While it signs, it isn't asked: the card is in use,
// so it is there.
func (h *Hub) status(ctx context.Context) Status {
	both := []string{RS256, RS1}
	if len(h.slot) > 0 {
		return Status{Card: CardPresent, Algorithms: both}
	}
	ctx, end, err := h.use(ctx)
	if err != nil {
		return Status{Card: CardAbsent, Algorithms: both}
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	status, err := h.config.Signer.Status(ctx)
	if e := h.fault(err); e != nil {
		if e.Code != CodeNoCard {
			h.config.Logger.ErrorContext(ctx, "signer failed", "operation", "status", "code", string(e.Code), "error", causeOf(e))
		}
		status.Card = CardAbsent
	}
	if status.Card == CardAbsent {
		h.shown.forget()
	}
	if len(status.Algorithms) == 0 {
		status.Algorithms = both
	}
	return status
}

type certificateAnswer struct {
	ID          string   `json:"id"`
	Certificate string   `json:"certificate"` // base64 DER
	Chain       []string `json:"chain"`
	Algorithms  []string `json:"algorithms"`
}

func (h *Hub) serveCertificates(w http.ResponseWriter, r *http.Request, origin string) {
	body, ok := h.readBody(w, r, typeJSON, maxCertificatesBody)
	if !ok {
		return
	}
	if _, err := readMembers(body); err != nil {
		h.refuse(w, r, "certificates", origin, invalid("The body must be one JSON object without duplicate members."))
		return
	}
	certificates, err := h.certificates(r.Context(), origin)
	if err != nil {
		h.refuse(w, r, "certificates", origin, err)
		return
	}
	answer := struct {
		Certificates []certificateAnswer `json:"certificates"`
	}{make([]certificateAnswer, len(certificates))}
	for i, c := range certificates {
		answer.Certificates[i] = certificateAnswer{
			ID: c.ID, Certificate: base64.StdEncoding.EncodeToString(c.Leaf.Raw), Chain: encodeChain(c), Algorithms: c.Algorithms,
		}
	}
	writeJSON(w, http.StatusOK, answer)
}

func encodeChain(c *Certificate) []string {
	chain := make([]string, len(c.Chain))
	for i, issuer := range c.Chain {
		chain[i] = base64.StdEncoding.EncodeToString(issuer.Raw)
	}
	return chain
}

type signatureAnswer struct {
	ID        string `json:"id"`
	Signature string `json:"signature"`
}

type failureAnswer struct {
	ID    string `json:"id"`
	Error Code   `json:"error"`
}

func (h *Hub) serveSign(w http.ResponseWriter, r *http.Request, origin string) {
	body, ok := h.readBody(w, r, typeJSON, maxSign)
	if !ok {
		return
	}
	token, certificateID, err := readSign(body)
	if err != nil {
		h.refuse(w, r, "sign", origin, err)
		return
	}
	req, err := h.verify(r.Context(), token, origin)
	if err != nil {
		h.refuse(w, r, "sign", origin, err)
		return
	}
	signed, err := h.sign(r.Context(), origin, req, certificateID)
	if err != nil {
		h.refuse(w, r, "sign", origin, err)
		return
	}
	answer := struct {
		Signatures  []signatureAnswer `json:"signatures"`
		Failed      []failureAnswer   `json:"failed"`
		Certificate string            `json:"certificate"`
		Chain       []string          `json:"chain"`
	}{
		Signatures: signed.signatures(), Failed: []failureAnswer{},
		Certificate: base64.StdEncoding.EncodeToString(signed.certificate.Leaf.Raw), Chain: encodeChain(signed.certificate),
	}
	for _, id := range signed.failedIDs() {
		answer.Failed = append(answer.Failed, failureAnswer{id, signed.fault.Code})
	}
	writeJSON(w, http.StatusOK, answer)
}

// readSign reads {"request", "certificateId"?}.
func readSign(body []byte) (token []byte, certificateID string, err error) {
	m, err := readMembers(body, "request", "certificateId")
	if err != nil {
		return nil, "", invalid("The body must be one JSON object without duplicate members.")
	}
	text := m["request"].text()
	if text == "" {
		return nil, "", invalid("The body's request must be the JWT, as a text.")
	}
	if id := m["certificateId"]; id.present() {
		var ok bool
		if certificateID, ok = id.name(); !ok {
			return nil, "", invalid("The body's certificateId must be a text of 1 to 256 bytes.")
		}
	}
	return []byte(text), certificateID, nil
}

// refuse logs and writes an error.
func (h *Hub) refuse(w http.ResponseWriter, r *http.Request, operation, origin string, err error) {
	e := h.fault(err)
	h.logFault(r.Context(), operation, origin, e)
	writeError(w, e.Code.status(), e)
}

// logFault logs what did not succeed.
func (h *Hub) logFault(ctx context.Context, operation, origin string, e *Error) {
	log := h.config.Logger.With("operation", operation, "origin", origin, "code", string(e.Code))
	switch {
	case ctx.Err() != nil:
		log.DebugContext(ctx, "operation abandoned: the browser has gone", "error", causeOf(e))
	case e.Code == CodeInternal:
		log.ErrorContext(ctx, "operation failed", "error", causeOf(e))
	case e.Err != nil:
		log.InfoContext(ctx, "operation refused", "reason", e.Error(), "error", e.Err)
	default:
		log.InfoContext(ctx, "operation refused", "reason", e.Error())
	}
}

// fault makes an Error of whatever ended an operation, and nil of nil.
func (h *Hub) fault(err error) *Error {
	switch {
	case err == nil:
		return nil
	case h.closing.Err() != nil && errors.Is(err, context.Canceled):
		return stopping()
	}
	return asError(err)
}

func stopping() *Error {
	return &Error{Code: CodeInternal, Message: "The hub is being stopped.", RetriesLeft: -1}
}

func causeOf(e *Error) error {
	if e.Err != nil {
		return e.Err
	}
	return e
}
