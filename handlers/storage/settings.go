package storage

// ServiceSettings say how a service sends and what it is told. Those of a stored
// service are kept as JSON in Service.Settings.
type ServiceSettings struct {
	// SMSSenders and ReplyTo are what notifications may be sent from, and where
	// answers to emails go, chosen by id. The default is the one that says so,
	// else the first.
	SMSSenders []SMSSender      `json:"sms_senders,omitempty"`
	ReplyTo    []ReplyToAddress `json:"reply_to,omitempty"`
	// EmailFrom is the address that emails are from, empty for that of the
	// delivery provider.
	EmailFrom string `json:"email_from,omitempty"`
	// GuestList holds the phone numbers and email addresses of the team and its
	// guests: where team keys may send, and in trial all keys but test keys.
	GuestList []string `json:"guest_list,omitempty"`
	// Trial restricts all keys but test keys to the guest list.
	Trial bool `json:"trial,omitempty"`
	// InboundNumbers are the numbers whose received messages are this service's:
	// E.164 with "+", or a short code. A number belongs to one service.
	InboundNumbers []string `json:"inbound_numbers,omitempty"`
	// Callback is where the service is told what became of its notifications;
	// nil: it is told nothing.
	Callback *ServiceCallback `json:"callback,omitempty"`
}

// SMSSender is a text or number that text messages may be from.
type SMSSender struct {
	ID      string `json:"id"` // UUID in lower case
	Text    string `json:"text"`
	Default bool   `json:"default,omitempty"`
}

// ReplyToAddress is an address for answers to emails.
type ReplyToAddress struct {
	ID      string `json:"id"` // UUID in lower case
	Address string `json:"address"`
	Default bool   `json:"default,omitempty"`
}

// ServiceCallback is an address that is called by POST with a bearer token.
type ServiceCallback struct {
	URL string `json:"url"`
	// Bearer is the token, sealed as stored (see Sealer) and in plain text where
	// Directory hands it out.
	Bearer []byte `json:"bearer"`
}
