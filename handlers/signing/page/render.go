package page

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The values of View.State.
const (
	StateReady      = "ready"      // it can be opened
	StateUnknown    = "unknown"    // there is no such request
	StateExpired    = "expired"    // its time has run out
	StateDownloaded = "downloaded" // it has been opened before
	StateSigned     = "signed"
	StateMockOff    = "mock_off" // the fake signer was asked for where there is none
	StateError      = "error"    // the server can't tell
)

// View is what the page says. Every text is escaped by the page.
type View struct {
	State string // one of the constants; anything else is StateError
	// Status is the HTTP status to answer with; when 0, that of the state: 200
	// for StateReady, StateDownloaded and StateSigned, 404 for StateUnknown and
	// StateExpired, 403 for StateMockOff and 503 for StateError.
	Status int

	Token      string
	ClientName string // who asks; ClientID when empty
	ClientID   string
	Subject    string // by whom it is to be signed
	Documents  int
	// Deadline is until when it can be signed.
	Deadline time.Time
	// Mock tells that the fake signer was asked for and is allowed. It has no
	// effect unless the page was made with it.
	Mock bool
}

// The modules that ask for a signature.
const (
	moduleHubOne = "hub1.js"
	moduleHubNHS = "nhs.js"
	moduleMock   = "mock.js"
)

// document is what the template is filled with.
type document struct {
	View
	Base   string
	Ready  bool
	Notice notice

	// What the script is told.
	Signer    string // module
	HubURL    string
	HubPorts  string // separated by spaces
	Remaining int64  // milliseconds until the deadline; 0 when there is none
}

// Render answers with the whole document and all its headers; a HEAD request is
// answered without the body.
func (p *Page) Render(w http.ResponseWriter, r *http.Request, v View) {
	n, known := notices[v.State]
	if !known {
		v.State = StateError
		n = notices[StateError]
	}
	if v.Status == 0 {
		v.Status = n.status
	}
	if v.ClientName == "" {
		v.ClientName = v.ClientID
	}
	d := document{View: v, Base: p.basePath, Ready: v.State == StateReady, Notice: n}
	d.Mock = v.Mock && p.assets[moduleMock].content != nil
	if d.Ready {
		p.fillScript(&d)
	}
	var body bytes.Buffer
	if err := p.template.Execute(&body, d); err != nil {
		// Not for what a view can hold: the tests render all of them.
		http.Error(w, "The page could not be rendered.", http.StatusInternalServerError)
		return
	}
	p.setHeaders(w.Header())
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(v.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body.Bytes()) // the browser has gone
	}
}

func (p *Page) fillScript(d *document) {
	switch {
	case d.Mock:
		d.Signer = moduleMock
	case p.hub.Kind == HubNHS:
		d.Signer = moduleHubNHS
		ports := make([]string, len(p.ports))
		for i, port := range p.ports {
			ports[i] = strconv.Itoa(port)
		}
		d.HubPorts = strings.Join(ports, " ")
	default:
		d.Signer, d.HubURL = moduleHubOne, p.hub.URL
	}
	// A span and not a time: the clock of the user's computer may be wrong.
	if !d.Deadline.IsZero() {
		d.Remaining = max(d.Deadline.Sub(p.now()).Milliseconds(), 1)
	}
}

// Plural is for the template.
func (d document) Plural() string {
	if d.Documents == 1 {
		return "1 document"
	}
	return strconv.Itoa(d.Documents) + " documents"
}

// DeadlineUTC is the deadline for people and DeadlineISO for the script, which
// shows it in the user's own time zone.
func (d document) DeadlineUTC() string {
	return d.Deadline.UTC().Format("2 January 2006, 15:04:05 UTC")
}

// DeadlineISO is in RFC 3339.
func (d document) DeadlineISO() string { return d.Deadline.UTC().Format(time.RFC3339) }
