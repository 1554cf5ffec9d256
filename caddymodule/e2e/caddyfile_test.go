//go:build linux

package e2e

import (
	"cmp"
	"fmt"
	"strings"
)

const (
	serviceID = "26785a09-ab16-4eb0-8407-a37497a57506"
	secretOne = "3d844edf-8d35-48ac-975b-e847b4f122b0"
	nodesKey  = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" // secrets_key of several nodes
)

// config is a Caddyfile in pieces.
type config struct {
	global   string // more global options
	signpost string // more of the option signpost
	service  string // more of the service
	storage  string // path of the database, by default signpost.db
	postgres string // the DSN of a PostgreSQL database instead
	pooler   bool   // that leads to PgBouncer
	api      string // options of notify_api
	port     int    // of the API, plain HTTP; 0 for none
	sites    string // more sites
}

// String is the whole Caddyfile. The admin address comes from the environment.
func (c config) String() string {
	storage := "sqlite " + cmp.Or(c.storage, "signpost.db")
	if c.postgres != "" {
		storage = fmt.Sprintf("postgres `%s` {\n\t\t\tsecrets_key %s\n\t\t\tpooler %s\n\t\t}",
			c.postgres, nodesKey, map[bool]string{true: "on", false: "off"}[c.pooler])
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{
	auto_https off
	skip_install_trust
	persist_config off
	default_bind 127.0.0.1
	grace_period 10s
	%s
	signpost {
		storage %s
		service %s {
			name "Booking reminders"
			key live %s
			template 1 sms "Your code is ((code))"
			template 2 email {
				subject "Your appointment on ((day))"
				body "Dear ((name)), we expect you on ((day))."
			}
			%s
		}
		%s
	}
}
`, c.global, storage, serviceID, secretOne, c.service, c.signpost)
	if c.port != 0 {
		fmt.Fprintf(&b, "http://127.0.0.1:%d {\n\tnotify_api {\n\t\t%s\n\t}\n}\n", c.port, c.api)
	}
	b.WriteString(c.sites)
	return b.String()
}

// noLimits keeps a drill from being refused for its own speed.
const noLimits = "rate_limit 0\n\t\tdaily_limit 0"

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func plainURL(port int) string { return "http://" + address(port) }
