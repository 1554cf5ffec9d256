package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// ServiceOptions say from whom a service sends, to whom it may, and what it
// receives.
type ServiceOptions struct {
	// What text messages may be from. A request names one by its id; else the
	// default is taken. Without any they are from what the provider says.
	SMSSenders []*SMSSender `json:"sms_senders,omitempty"`

	// Where answers to emails may go. A request names one by its id; else the
	// default is taken. Without any they go to the address that emails are from.
	ReplyTo []*ReplyTo `json:"reply_to,omitempty"`

	// The address that emails are from. The default is the provider's.
	EmailFrom string `json:"email_from,omitempty"`

	// The phone numbers and email addresses of the team and its guests: where
	// team keys may send, and all keys but test keys while the service is on
	// trial.
	GuestList []string `json:"guest_list,omitempty"`

	// Whether the service is on trial: it sends to its guest list only, and at
	// most 50 notifications of each channel a day.
	Trial bool `json:"trial,omitempty"`

	// The numbers whose received text messages are this service's, in E.164 such
	// as `+447700900123`, or short codes. A number belongs to one service.
	InboundNumbers []string `json:"inbound_numbers,omitempty"`
}

// SMSSender is what text messages may be from.
type SMSSender struct {
	// The id by which requests name it (`sms_sender_id`): a UUID in lower case.
	ID string `json:"id"`

	// A name of at most 11 letters, digits and blanks, a number such as
	// `+447700900123`, or a short code.
	Text string `json:"text"`

	// Whether it is taken when a request names none. Without any that is, the
	// first one is taken.
	Default bool `json:"default,omitempty"`
}

// ReplyTo is an address for answers to emails.
type ReplyTo struct {
	// The id by which requests name it (`email_reply_to_id`): a UUID in lower
	// case.
	ID string `json:"id"`

	// The email address.
	Address string `json:"address"`

	// Whether it is taken when a request names none. Without any that is, the
	// first one is taken.
	Default bool `json:"default,omitempty"`
}

var serviceOptionNames = []string{"sms_sender", "reply_to", "email_from", "guest_list", "trial", "inbound_number"}

// settings is what the directory knows of the service besides its callback,
// which has a policy of what it may call.
func (o *ServiceOptions) settings() storage.ServiceSettings {
	out := storage.ServiceSettings{EmailFrom: o.EmailFrom, GuestList: o.GuestList, Trial: o.Trial, InboundNumbers: o.InboundNumbers}
	for _, s := range o.SMSSenders {
		out.SMSSenders = append(out.SMSSenders, storage.SMSSender{ID: s.ID, Text: s.Text, Default: s.Default})
	}
	for _, a := range o.ReplyTo {
		out.ReplyTo = append(out.ReplyTo, storage.ReplyToAddress{ID: a.ID, Address: a.Address, Default: a.Default})
	}
	return out
}

// unmarshalOption reads one option of a service's block; known is false when it
// isn't one of these.
func (o *ServiceOptions) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "sms_sender":
		s := new(SMSSender)
		if s.ID, s.Text, s.Default, err = chosenOption(d, "<text>"); err == nil {
			o.SMSSenders = append(o.SMSSenders, s)
		}
	case "reply_to":
		a := new(ReplyTo)
		if a.ID, a.Address, a.Default, err = chosenOption(d, "<address>"); err == nil {
			o.ReplyTo = append(o.ReplyTo, a)
		}
	case "email_from":
		err = textOption(d, &o.EmailFrom)
	case "guest_list":
		err = wordsOption(d, &o.GuestList)
	case "trial":
		err = flagOption(d, &o.Trial)
	case "inbound_number":
		err = wordsOption(d, &o.InboundNumbers)
	default:
		return false, nil
	}
	if err != nil {
		return true, err
	}
	// So that what can't be meant has file and line.
	_, err = directory.New(directory.Config{Configured: []directory.Configured{
		{Service: &notifyauth.Service{ID: "of this block"}, Settings: o.settings()},
	}})
	if err != nil {
		return true, d.Err(err.Error())
	}
	return true, nil
}

// chosenOption reads one of several that are chosen by id.
func chosenOption(d *caddyfile.Dispenser, what string) (id, value string, isDefault bool, err error) {
	name, args := d.Val(), d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 || len(args) == 3 && args[2] != "default" {
		return "", "", false, d.Errf("write: %s <uuid> %s [default]", name, what)
	}
	return args[0], args[1], len(args) == 3, nil
}

// secretOfKey returns the secret of what is given as a key of a service: mostly
// the secret itself, but people have the key string of Notify's client libraries
// at hand, which ends with it.
func secretOfKey(service, text string) (string, error) {
	name, of, secret, err := notifyauth.ParseKeyString(text)
	switch {
	case err != nil, name == "" && of != service:
		return text, nil
	case of != service:
		return "", fmt.Errorf("it is a key string of another service (%s): write a key of service %s, or the secret alone", of, service)
	}
	return secret, nil
}
