package caddymodule

import (
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/notifications"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Service is a tenant: whoever signs with one of its keys acts as it.
type Service struct {
	// The id of the service, which clients send as the `iss` claim: a UUID in
	// lower case, or any other text without blanks and slashes.
	ID string `json:"id"`

	// The name of the service, for people. The default is the id.
	Name string `json:"name,omitempty"`

	// The keys with which the service may sign. All of them are tried, so that
	// a new one can be put beside the old before clients change over.
	Keys []*ServiceKey `json:"keys,omitempty"`

	// The templates of the service's notifications. More may be kept in
	// storage.
	Templates []*Template `json:"templates,omitempty"`

	// Where the service is told what became of its notifications. By default it
	// is told nothing, and asks.
	Callback *ServiceCallback `json:"callback,omitempty"`

	ServiceOptions
}

// ServiceKey is one of a service's keys.
type ServiceKey struct {
	// The name of the key, unique in its service. It appears in logs.
	Name string `json:"name"`

	// The secret: at least 32 characters, and not that of another service. The
	// whole key string of Notify's client libraries, `name-service-secret`,
	// stands for the secret that it ends with. Write a placeholder, `{env.NAME}`
	// or `{file./path}`.
	Secret Secret `json:"secret"`

	// What the key may do: `normal` (the default), `team` or `test`. A team key
	// may send to the service's guest list only. What is sent with a test key is
	// stored and reported as delivered, or as the recipient stands for, and
	// never reaches a provider.
	Type string `json:"type,omitempty"`
}

// Template is a message text with placeholders, such as `Your code is ((code))`.
type Template struct {
	// The id by which requests name the template, unique in its service.
	ID string `json:"id"`

	// The channel: `sms` or `email`.
	Type string `json:"type"`

	// The name of the template, for people.
	Name string `json:"name,omitempty"`

	// The subject, which emails need and text messages do not have. It may hold
	// placeholders.
	Subject string `json:"subject,omitempty"`

	// The text. `((name))` is replaced by the personalisation of that name;
	// `((flag??text))` becomes the text when the flag is yes.
	Body string `json:"body"`
}

// provision expands the secrets and checks the service. seen maps each secret
// to the service that has it.
func (s *Service) provision(logger *zap.Logger, seen map[string]string) (directory.Configured, error) {
	var none directory.Configured
	s.ID = caddy.NewReplacer().ReplaceKnown(s.ID, "")
	if s.ID == "" || strings.ContainsAny(s.ID, " \t\r\n/") {
		return none, fmt.Errorf("service id %q: it must be a text without blanks and slashes, such as a UUID", s.ID)
	}
	if len(s.Keys) == 0 {
		return none, fmt.Errorf("service %s has no key: add `key <name> <secret>`", s.ID)
	}
	out := directory.Configured{Service: &notifyauth.Service{ID: s.ID, Name: s.Name}, Settings: s.settings()}
	if s.Name == "" {
		out.Service.Name = s.ID
	}
	names := make(map[string]bool, len(s.Keys))
	for _, k := range s.Keys {
		what := fmt.Sprintf("key %q of service %s", k.Name, s.ID)
		if k.Name == "" || names[k.Name] {
			return none, fmt.Errorf("%s: key names must be unique and not empty", what)
		}
		names[k.Name] = true
		secret, err := k.Secret.expandKey(what, logger)
		if err != nil {
			return none, err
		}
		if secret, err = secretOfKey(s.ID, secret); err != nil {
			return none, fmt.Errorf("%s: %w", what, err)
		}
		if other, ok := seen[secret]; ok && other != s.ID {
			return none, fmt.Errorf("%s has the secret of service %s: every service needs secrets of its own, or either could act as the other", what, other)
		}
		seen[secret] = s.ID
		key, err := notifyauth.NewKey(k.Name, secret, notifyauth.WithType(k.Type))
		if err != nil {
			return none, fmt.Errorf("%s: %w", what, err)
		}
		out.Service.Keys = append(out.Service.Keys, key)
	}
	if err := s.Callback.provision(s.ID, logger); err != nil {
		return none, err
	}
	for _, t := range s.Templates {
		st := storage.Template{ID: t.ID, Channel: storage.Channel(t.Type), Name: t.Name, Subject: t.Subject, Body: t.Body}
		if err := notifications.CheckTemplate(st); err != nil {
			return none, fmt.Errorf("service %s: template %s: %w", s.ID, t.ID, err)
		}
		out.Templates = append(out.Templates, st)
	}
	return out, nil
}

// unmarshalService reads a block of the global option:
//
//	service <id> {
//		name <text>
//		key <name> <secret> [normal|team|test]
//		template <id> <sms|email> [<body>] {
//			name <text>
//			subject <text>
//			body <text>
//		}
//		callback <url> <bearer> {
//			allow_private <host|address|cidr>...
//		}
//		sms_sender     <uuid> <text> [default]
//		reply_to       <uuid> <address> [default]
//		email_from     <address>
//		guest_list     <recipient>...
//		trial
//		inbound_number <number>...
//	}
func unmarshalService(d *caddyfile.Dispenser) (*Service, error) {
	s := new(Service)
	if !d.AllArgs(&s.ID) {
		return nil, d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := s.unmarshalOption(d); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Service) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "name":
		return textOption(d, &s.Name)
	case "key":
		args := d.RemainingArgs()
		if len(args) < 2 || len(args) > 3 {
			return d.Err("write: key <name> <secret> [normal|team|test]")
		}
		k := &ServiceKey{Name: args[0], Secret: Secret(args[1])}
		if len(args) == 3 {
			k.Type = args[2]
			if k.Type != "normal" && k.Type != "team" && k.Type != "test" {
				return d.Errf("key type %q: it must be normal, team or test", k.Type)
			}
		}
		s.Keys = append(s.Keys, k)
	case "template":
		t, err := unmarshalTemplate(d)
		if err != nil {
			return err
		}
		s.Templates = append(s.Templates, t)
	case "callback":
		if s.Callback != nil {
			return d.Err("callback is given twice")
		}
		var err error
		s.Callback, err = unmarshalServiceCallback(d)
		return err
	default:
		known, err := s.ServiceOptions.unmarshalOption(d)
		if err == nil && !known {
			err = unknownOption(d, "service", append([]string{"name", "key", "template", "callback"}, serviceOptionNames...)...)
		}
		return err
	}
	return nil
}

func unmarshalTemplate(d *caddyfile.Dispenser) (*Template, error) {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return nil, d.Err("write: template <id> <sms|email> [<body>]")
	}
	t := &Template{ID: args[0], Type: args[1]}
	if t.Type != "sms" && t.Type != "email" {
		return nil, d.Errf("template type %q: it must be sms or email", t.Type)
	}
	if len(args) == 3 {
		t.Body = args[2]
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var field *string
		switch d.Val() {
		case "name":
			field = &t.Name
		case "subject":
			field = &t.Subject
		case "body":
			field = &t.Body
		default:
			return nil, unknownOption(d, "template", "name", "subject", "body")
		}
		if !d.AllArgs(field) {
			return nil, d.ArgErr()
		}
	}
	if t.Body == "" {
		return nil, d.Errf("template %s has no body", t.ID)
	}
	return t, nil
}

var errNoServices = errors.New("no service is known: add `service` blocks to the `signpost` global option, or name stored ones")
