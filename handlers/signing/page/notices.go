package page

import "net/http"

// notice is what the page says in a state in which nothing can be done on it.
type notice struct {
	status int
	Title  string
	Text   []string // paragraphs
	// Again offers to load the page again.
	Again bool
}

// What the user did or has to do, not what the server thinks: whoever reads
// this knows nothing of tokens.
var notices = map[string]notice{
	StateReady: {status: http.StatusOK, Title: "Sign documents"},
	StateUnknown: {
		status: http.StatusNotFound,
		Title:  "No such signature request",
		Text: []string{
			"There is no signature request at this address. The link may be incomplete, or the request too old.",
			"Go back to the application that sent you here and start signing again.",
		},
	},
	StateExpired: {
		status: http.StatusNotFound,
		Title:  "This request has expired",
		Text: []string{
			"It was not signed in time. Nothing has been signed.",
			"Go back to the application that sent you here and start signing again.",
		},
	},
	StateDownloaded: {
		status: http.StatusOK,
		Title:  "This request has already been opened",
		Text: []string{
			"A request can be opened only once, and this one has been: in another tab or window, or here before the page was loaded again.",
			"If it is still open elsewhere, go on there. Otherwise go back to the application that sent you here and start signing again.",
		},
	},
	StateSigned: {
		status: http.StatusOK,
		Title:  "This request has already been signed",
		Text: []string{
			"The signature is with the signing service. There is nothing left to do here.",
			"Go back to the application that sent you here.",
		},
	},
	StateMockOff: {
		status: http.StatusForbidden,
		Title:  "Test signatures are switched off",
		Text: []string{
			"The address asks for a test signature, and this signing service makes none. Nothing has been signed.",
			"Go back to the application that sent you here; it should not ask for a test signature.",
		},
	},
	StateError: {
		status: http.StatusServiceUnavailable,
		Title:  "The signing service can’t answer right now",
		Text: []string{
			"This is a problem on our side. The request has not been used up.",
			"Wait a moment, then try again.",
		},
		Again: true,
	},
}
