package hub

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// maxConsentForm is the longest form of the consent page, in bytes, and maxPIN
	// the longest PIN.
	maxConsentForm = 8 << 10
	maxPIN         = 255
	// workingRefresh is after how many seconds a page looks again that shows what
	// is going on, and expiryRefresh how long after its end one that asks does.
	workingRefresh = 1
	expiryRefresh  = 2 * time.Second
)

//go:embed assets/consent.html
var consentHTML string

//go:embed assets/consent.css
var consentCSS string

var consentTemplate = template.Must(template.New("consent").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(consentCSS) }, //nolint:gosec // the package's own
}).Parse(consentHTML))

// consentPolicy allows the page its own style and its own form, and nothing
// else: neither scripts nor being framed.
var consentPolicy = func() string {
	sum := sha256.Sum256([]byte(consentCSS))
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// consentData is what the template shows.
type consentData struct {
	Hub, Title   string
	State        string // asking, pin, working, ended, missing
	Signing      bool   // rather than to show certificates
	Origin       string
	Issuer       []segment
	Subject      []segment
	Unsigned     bool
	Algorithm    string
	Documents    []documentView
	Count        string // of documents
	Again        string // tells of what was signed before
	Verb         string // of the button
	ShownFor     string // how long certificates may be seen
	Done, Total  int
	Certificates []certificateView
	Chosen       string // id of a certificate
	AskPIN       bool
	Token        []segment
	Hint         string
	Retries      string
	Step         int
	Refresh      int // seconds; 0 for never
	Failed       bool
	Text         string
}

// serve answers under /consent/.
func (p *PageConsent) serve(w http.ResponseWriter, r *http.Request, id string) {
	setPageHeaders(w)
	if !allowMethods(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	d := p.find(id)
	if d == nil {
		renderConsent(w, http.StatusNotFound, &consentData{
			Hub: DefaultName, State: "missing", Title: "There is nothing to agree to here",
			Text: "This address was for one request, which is over, or it is wrong. Go back to the application.",
		})
		return
	}
	if r.Method == http.MethodPost {
		d.post(w, r)
		return
	}
	data := d.view()
	status := http.StatusOK
	if data.State == "ended" {
		status = http.StatusGone
	}
	renderConsent(w, status, data)
}

// setPageHeaders sets what pages have. Their policy for referrers must let the
// browser name the origin of the form, which no-referrer would not.
func setPageHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Language", "en")
	h.Set("Content-Security-Policy", consentPolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Robots-Tag", "noindex, nofollow")
}

func renderConsent(w http.ResponseWriter, status int, data *consentData) {
	var b bytes.Buffer
	if err := consentTemplate.Execute(&b, data); err != nil {
		writeBody(w, http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("The page can't be shown."))
		return
	}
	writeBody(w, status, "text/html; charset=utf-8", b.Bytes())
}

// post takes the form, and sends the browser back to the page.
func (d *consentPage) post(w http.ResponseWriter, r *http.Request) {
	if !isSameOrigin(r) {
		e := &Error{Code: CodeOriginNotAllowed, Message: "Only the hub's own page can agree."}
		writeError(w, e.Code.status(), e)
		return
	}
	body, fault := readBody(w, r, typeForm, maxConsentForm)
	if fault != nil {
		writeError(w, fault.status, invalid(fault.message))
		return
	}
	form, err := url.ParseQuery(string(body))
	clear(body) // it may hold the PIN
	step, stepErr := strconv.Atoi(form.Get("step"))
	decision := form.Get("decision")
	pin := form.Get("pin")
	if err != nil || stepErr != nil || decision != "approve" && decision != "refuse" || len(pin) > maxPIN {
		writeError(w, http.StatusBadRequest, invalid("The form is not complete."))
		return
	}
	a := Answer{CertificateID: form.Get("certificate"), PIN: pin}
	d.take(step, decision == "approve", a)
	w.Header().Set("Location", r.URL.EscapedPath())
	w.WriteHeader(http.StatusSeeOther)
}

// view makes the page's data of its state.
func (d *consentPage) view() *consentData {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := &d.question
	now := d.now()
	data := &consentData{
		Hub: q.Hub, Signing: q.Kind == AskSignatures, Origin: q.Origin, Issuer: line(q.Issuer), Subject: line(q.Subject),
		Unsigned: q.Unsigned, Algorithm: q.Algorithm, Chosen: d.certificate, Step: d.step, Hint: d.hint,
		Done: d.done, Total: len(q.Documents), Count: plural(len(q.Documents), "document"), Again: againText(q), Verb: "Sign",
		ShownFor: plural(int(shownFor/time.Hour), "hour"),
	}
	if !d.until.IsZero() {
		data.Refresh = int((d.until.Sub(now) + expiryRefresh) / time.Second)
	}
	var pin *PINRequest
	switch d.state {
	case stateAsking:
		switch {
		case !data.Signing:
			data.State, data.Title, data.Verb = "asking", "Show your certificates?", "Show"
		case q.Signed == len(q.Documents):
			data.State, data.Title, data.Verb = "asking", "Hand over your signatures again?", "Hand over"
		default:
			data.State, data.Title = "asking", "Sign "+data.Count+"?"
			pin = q.PIN
		}
		data.Documents = viewDocuments(q.Documents)
		data.Certificates = viewCertificates(q.Certificates, now)
	case statePIN:
		data.State, data.Title = "pin", "Enter your PIN"
		pin = &d.pin
	case stateWorking:
		data.State, data.Title, data.Refresh = "working", "Please wait", workingRefresh
	case stateEnded:
		data.State, data.Refresh = "ended", 0
		data.Title, data.Text, data.Failed = ending(d.err, data.Signing)
	}
	if pin != nil {
		data.AskPIN, data.Token, data.Retries = true, line(pin.Token), retriesText(*pin)
		if pin.Wrong && data.Hint == "" {
			data.Hint = "The PIN was wrong."
		}
	}
	return data
}

// ending says how an operation ended.
func ending(err error, signing bool) (title, text string, failed bool) {
	var e *Error
	switch {
	case err == nil && signing:
		return "Signed", "You can close this window and go back to the application.", false
	case err == nil:
		return "Certificates shown", "Go back to the application. Before anything is signed, you will be asked again.", false
	case errors.As(err, &e) && e.Code == CodeUserCancelled:
		return "Refused", "Nothing was signed. You can close this window.", true
	case errors.As(err, &e):
		return "That didn’t work", e.Error(), true
	default:
		return "The request is over", "Nobody answered in time, or the application withdrew the request. You can close this window.", true
	}
}
