package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenSeparator = "----------\n"

// TestAdapt compares Caddyfiles with the JSON that they become, as Caddy's own
// tests do; a golden file holds both.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			caddyfile, want, ok := strings.Cut(string(content), goldenSeparator)
			require.True(t, ok || *update, "no separator")
			cfg, err := adaptCaddyfile(t, caddyfile)
			require.NoError(t, err)
			var got bytes.Buffer
			require.NoError(t, json.Indent(&got, cfg, "", "\t"))
			got.WriteByte('\n')
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(caddyfile+goldenSeparator+got.String()), 0o644))
				return
			}
			require.Equal(t, want, got.String())
		})
	}
}

// TestAdaptErrors: every unknown word and wrong argument is an error that
// names file and line.
func TestAdaptErrors(t *testing.T) {
	service := "signpost {\n service a {\n"
	for _, c := range []struct{ name, caddyfile, want string }{
		{"signpost argument", "{\n signpost x\n}", "wrong argument count"},
		{"signpost twice", "{\n signpost {\n }\n signpost {\n }\n}", "given twice"},
		{"signpost option", "{\n signpost {\n  servce x\n }\n}", `signpost has no option "servce"; it has: storage, service, key_set, client, delivery, dispatch`},
		{"storage module", "{\n signpost {\n  storage redis\n }\n}", "signpost.storage.redis"},
		{"storage twice", "{\n signpost {\n  storage memory\n  storage memory\n }\n}", "storage is given twice"},
		{"sqlite option", "{\n signpost {\n  storage sqlite x.db {\n   wal off\n  }\n }\n}", `storage sqlite has no option "wal"`},
		{"sqlite arguments", "{\n signpost {\n  storage sqlite a b\n }\n}", "wrong argument count"},
		{"postgres without DSN", "{\n signpost {\n  storage postgres {\n  }\n }\n}", "write: storage postgres <dsn>"},
		{"postgres option", "{\n signpost {\n  storage postgres x {\n   pool 3\n  }\n }\n}", `storage postgres has no option "pool"; it has: secrets_key, migrate, max_connections, connect_timeout, statement_timeout, pooler, at Caddyfile:4`},
		{"postgres without key", "{\n signpost {\n  storage postgres x\n }\n}", "storage postgres needs a secrets_key"},
		{"postgres migrate", "{\n signpost {\n  storage postgres x {\n   migrate never\n  }\n }\n}", "it must be one of: auto, check"},
		{"postgres connections", "{\n signpost {\n  storage postgres x {\n   max_connections 1\n  }\n }\n}", "between 2 and 10000"},
		{"postgres connect_timeout", "{\n signpost {\n  storage postgres x {\n   secrets_key y\n   connect_timeout 1500ms\n  }\n }\n}", "whole seconds"},
		{"postgres pooler", "{\n signpost {\n  storage postgres x {\n   secrets_key y\n   statement_timeout 2s\n   pooler on\n  }\n }\n}", "ALTER ROLE"},
		{"callback arguments", "{\n " + service + "  callback https://x.example/\n }\n }\n}", "write: callback <url> <bearer>, at Caddyfile:4"},
		{"callback by http", "{\n " + service + "  callback http://x.example/ {env.X}\n }\n }\n}", "https"},
		{"callback option", "{\n " + service + "  callback https://x.example/ y {\n retries 3\n }\n }\n }\n}", `callback has no option "retries"; it has: allow_private`},
		{"callback twice", "{\n " + service + "  callback https://x.example/ y\n callback https://x.example/ y\n }\n }\n}", "callback is given twice"},
		{"providers of one name", "{\n signpost {\n  delivery sms webhook {\n   url https://x.example/\n  }\n  delivery sms webhook {\n   url https://y.example/\n  }\n }\n}", "the name \"webhook\" is taken by another provider: choose one with `name`, at Caddyfile:8"},
		{"preset", "{\n signpost {\n  delivery sms webhook {\n   preset vonage\n  }\n }\n}", "generic, form, twilio"},
		{"twilio without account", "{\n signpost {\n  delivery sms webhook {\n   preset twilio\n  }\n }\n}", "needs a username"},
		{"from without a field", "{\n signpost {\n  delivery sms webhook {\n   url https://x.example/\n   from me\n   field number {to}\n  }\n }\n}", "have no {from} to hold it"},
		{"breaker option", "{\n signpost {\n  dispatch {\n   breaker {\n    errors 3\n   }\n  }\n }\n}", `breaker has no option "errors"; it has: failures, open_for, probes`},
		{"breaker count", "{\n signpost {\n  dispatch {\n   breaker {\n    probes 0\n   }\n  }\n }\n}", "between 1 and 10000"},
		{"memory option", "{\n signpost {\n  storage memory {\n   x\n  }\n }\n}", "storage memory has no options"},
		{"service without id", "{\n signpost {\n  service {\n  }\n }\n}", "wrong argument count"},
		{"service option", "{\n " + service + "  kee x y\n }\n }\n}", `service has no option "kee"; it has: name, key, template, callback, sms_sender, reply_to, email_from, guest_list, trial, inbound_number`},
		{"sms_sender arguments", "{\n " + service + "  sms_sender x\n }\n }\n}", "write: sms_sender <uuid> <text> [default], at Caddyfile:4"},
		{"sms_sender id", "{\n " + service + "  sms_sender 1 Booking\n }\n }\n}", `the id "1" of the SMS sender is not a UUID in lower case`},
		{"sms_sender text", "{\n " + service + "  sms_sender " + senderID + " \"Booking reminders\"\n }\n }\n}", "at most 11 letters"},
		{"two defaults", "{\n " + service + "  sms_sender " + senderID + " One default\n  sms_sender " + serviceID + " Two default\n }\n }\n}", "only one SMS sender can be the default, at Caddyfile:5"},
		{"reply_to arguments", "{\n " + service + "  reply_to " + senderID + " a@example.org first\n }\n }\n}", "write: reply_to <uuid> <address> [default]"},
		{"reply_to address", "{\n " + service + "  reply_to " + senderID + " example.org\n }\n }\n}", `the reply-to address "example.org" is not an email address`},
		{"email_from", "{\n " + service + "  email_from nobody\n }\n }\n}", "is not an email address"},
		{"email_from twice", "{\n " + service + "  email_from a@example.org\n  email_from b@example.org\n }\n }\n}", "email_from is given twice, at Caddyfile:5"},
		{"guest_list", "{\n " + service + "  guest_list nobody\n }\n }\n}", `the guest "nobody" is neither`},
		{"trial argument", "{\n " + service + "  trial off\n }\n }\n}", "wrong argument count"},
		{"inbound_number", "{\n " + service + "  inbound_number 07700900123\n }\n }\n}", "with its country"},
		{"smtp for sms", "{\n signpost {\n  delivery sms smtp mail.example.org {\n   from a@example.org\n  }\n }\n}", "the provider is for the channel email only, at Caddyfile:5"},
		{"smtp without server", "{\n signpost {\n  delivery email smtp {\n   from a@example.org\n  }\n }\n}", "write: delivery email smtp <host[:port]>"},
		{"smtp port", "{\n signpost {\n  delivery email smtp mail.example.org:smtp {\n   from a@example.org\n  }\n }\n}", `server "mail.example.org:smtp": it must be host or host:port`},
		{"smtp host", "{\n signpost {\n  delivery email smtp https://mail.example.org {\n   from a@example.org\n  }\n }\n}", "it must be host or host:port"},
		{"smtp option", "{\n signpost {\n  delivery email smtp mail.example.org {\n   form a@example.org\n  }\n }\n}", `delivery smtp has no option "form"; it has: name, tls, ca_file`},
		{"smtp without from", "{\n signpost {\n  delivery email smtp mail.example.org\n }\n}", "the address that emails are from is missing"},
		{"smtp from", "{\n signpost {\n  delivery email smtp mail.example.org {\n   from nobody\n  }\n }\n}", `from: "nobody" is not an email address`},
		{"smtp tls", "{\n signpost {\n  delivery email smtp mail.example.org {\n   tls on\n  }\n }\n}", "it must be one of: starttls, tls, off"},
		{"smtp in clear", "{\n signpost {\n  delivery email smtp mail.example.org {\n   from a@example.org\n   tls off\n  }\n }\n}", "off is for a server on this machine"},
		{"smtp password alone", "{\n signpost {\n  delivery email smtp mail.example.org {\n   from a@example.org\n   password {env.X}\n  }\n }\n}", "belong together"},
		{"smtp timeout", "{\n signpost {\n  delivery email smtp mail.example.org {\n   from a@example.org\n   timeout 30s\n  }\n }\n}", "shorter than the lease"},
		{"smtp keep", "{\n signpost {\n  delivery email smtp mail.example.org {\n   keep -1\n  }\n }\n}", "a whole number"},
		{"inbound without secret", "{\n signpost {\n  delivery sms webhook {\n   url https://x.example/\n   inbound {\n   }\n  }\n }\n}", "inbound needs a secret"},
		{"inbound option", "{\n signpost {\n  delivery sms webhook {\n   inbound {\n    text_field x\n   }\n  }\n }\n}", `inbound has no option "text_field"; it has: secret, url, from_field`},
		{"inbound url", "{\n signpost {\n  delivery sms webhook {\n   url https://x.example/\n   inbound {\n    secret {env.X}\n    url https://a.example/inbound/webhook\n   }\n  }\n }\n}", "belongs to the preset twilio"},
		{"inbound twice", "{\n signpost {\n  delivery sms webhook {\n   inbound {\n   }\n   inbound {\n   }\n  }\n }\n}", "inbound is given twice"},
		{"inbound of twilio", "{\n signpost {\n  delivery sms webhook {\n   preset twilio\n   username u\n   password {env.X}\n   from +447700900000\n   delivered_on_accept\n   inbound {\n   }\n  }\n }\n}", "inbound needs the url that Twilio has"},
		{"callbacks option", "{\n signpost {\n  dispatch {\n   callbacks {\n    every 5m\n   }\n  }\n }\n}", `callbacks has no option "every"; it has: retries, pause, factor`},
		{"callbacks retries", "{\n signpost {\n  dispatch {\n   callbacks {\n    retries 101\n   }\n  }\n }\n}", "retries 101: it must be between 0 and 100"},
		{"notify_api dialect", ":80 {\n notify_api {\n  dialect v1\n }\n}", "it must be one of: signed, v2"},
		{"notify_api origin", ":80 {\n notify_api {\n  origin notify.example.org\n }\n}", "it must be scheme and host, such as https://notify.example.org, at Caddyfile:3"},
		{"notify_api origin with a path", ":80 {\n notify_api {\n  origin https://notify.example.org/\n }\n}", "it must be scheme and host"},
		{"key arguments", "{\n " + service + "  key x\n }\n }\n}", "write: key <name> <secret> [normal|team|test]"},
		{"key type", "{\n " + service + "  key x y admin\n }\n }\n}", `key type "admin"`},
		{"template type", "{\n " + service + "  template 1 fax x\n }\n }\n}", `template type "fax"`},
		{"template without body", "{\n " + service + "  template 1 sms\n }\n }\n}", "template 1 has no body"},
		{"template option", "{\n " + service + "  template 1 sms {\n bdy x\n }\n }\n }\n}", `template has no option "bdy"`},
		{"delivery channel", "{\n signpost {\n  delivery fax log\n }\n}", `delivery "fax"`},
		{"delivery module", "{\n signpost {\n  delivery sms pigeon\n }\n}", "signpost.delivery.pigeon"},
		{"log option", "{\n signpost {\n  delivery sms log {\n   x\n  }\n }\n}", "delivery log has no options"},
		{"webhook without url", "{\n signpost {\n  delivery sms webhook\n }\n}", "delivery webhook needs a url"},
		{"webhook option", "{\n signpost {\n  delivery sms webhook {\n   ulr x\n  }\n }\n}", `delivery webhook has no option "ulr"`},
		{"webhook method", "{\n signpost {\n  delivery sms webhook {\n   method GET\n  }\n }\n}", "it must be one of: POST, PUT, PATCH"},
		{"receipts without secret", "{\n signpost {\n  delivery sms webhook {\n   url https://x\n   receipts {\n   }\n  }\n }\n}", "receipts need a secret"},
		{"dispatch option", "{\n signpost {\n  dispatch {\n   workers 3\n  }\n }\n}", `dispatch has no option "workers"`},
		{"dispatch count", "{\n signpost {\n  dispatch {\n   concurrency 0\n  }\n }\n}", "between 1 and 10000"},
		{"notify_auth argument", ":80 {\n notify_auth x y\n}", "wrong argument count"},
		{"notify_auth option", ":80 {\n notify_auth {\n  audience x\n }\n}", `notify_auth has no option "audience"`},
		{"notify_auth dialect", ":80 {\n notify_auth {\n  dialect v3\n }\n}", "it must be one of: signed, v2"},
		{"notify_auth leeway", ":80 {\n notify_auth {\n  leeway soon\n }\n}", `leeway "soon"`},
		{"notify_auth size", ":80 {\n notify_auth {\n  max_body big\n }\n}", `max_body "big": it must be a size`},
		{"notify_auth query", ":80 {\n notify_auth {\n  query drop\n }\n}", "refuse, signed, unsigned"},
		{"notify_auth replay", ":80 {\n notify_auth {\n  replay on\n }\n}", "off, reject"},
		{"notify_auth errors", ":80 {\n notify_auth {\n  errors mine\n }\n}", "own, handle"},
		{"notify_auth services", ":80 {\n notify_auth {\n  services\n }\n}", "wrong argument count"},
		{"notify_api option", ":80 {\n notify_api {\n  query signed\n }\n}", `notify_api has no option "query"`},
		{"notify_api idempotent", ":80 {\n notify_api {\n  idempotent yes\n }\n}", "on, off"},
		{"notify_api limit", ":80 {\n notify_api {\n  rate_limit -1\n }\n}", "a whole number"},
		{"half a second", ":80 {\n notify_auth {\n  leeway 500ms\n }\n}", "whole seconds"},
		{"no time", ":80 {\n notify_auth {\n  leeway 0s\n }\n}", "more than 0"},
		{"base path", ":80 {\n notify_auth {\n  base_path api\n }\n}", "base path"},
		{"identity", ":80 {\n notify_auth {\n  identity_header Connection\n }\n}", "Connection"},
		{"budget", ":80 {\n notify_auth {\n  max_body 2MiB\n  max_buffered 1MiB\n }\n}", "takes 2097152 of it"},
		{"api budget", ":80 {\n notify_api {\n  max_buffered 1MiB\n }\n}", "takes 4194304 of it"},
		{"webhook timeout", "{\n signpost {\n  delivery sms webhook {\n   url https://x.example/\n   timeout 30s\n  }\n }\n}", "shorter than the lease"},
		{"webhook status", "{\n signpost {\n  delivery sms webhook {\n   url https://x.example/\n   receipts {\n    secret x\n    status a b\n   }\n  }\n }\n}", `status "b"`},
		{"replay in v2", ":80 {\n notify_auth {\n  dialect v2\n  replay reject\n }\n}", "signed dialect"},
		{"region", ":80 {\n notify_api {\n  region XX\n }\n}", "XX"},
		{"webhook by http", "{\n signpost {\n  delivery sms webhook {\n   url http://sms.example.org/\n  }\n }\n}", "https"},
		{"key_set without name", "{\n signpost {\n  key_set {\n  }\n }\n}", "wrong argument count"},
		{"key_set option", "{\n signpost {\n  key_set a {\n   sorce x\n  }\n }\n}", `key_set has no option "sorce"; it has: source, issuer, fail_startup`},
		{"key_set without source", "{\n signpost {\n  key_set a\n }\n}", "key_set a has no source"},
		{"source module", "{\n signpost {\n  key_set a {\n   source ldap x\n  }\n }\n}", "signpost.key_sources.ldap"},
		{"source inline", "{\n signpost {\n  key_set a {\n   source inline\n  }\n }\n}", "wrong argument count"},
		{"source file option", "{\n signpost {\n  key_set a {\n   source file x {\n    y\n   }\n  }\n }\n}", "file has no options"},
		{"source url option", "{\n signpost {\n  key_set a {\n   source url https://x.example/ {\n    refesh 1m\n   }\n  }\n }\n}", `source url has no option "refesh"`},
		{"source by http", "{\n signpost {\n  key_set a {\n   source url http://id.example.org/keys\n  }\n }\n}", "https"},
		{"source stale", "{\n signpost {\n  key_set a {\n   source url https://x.example/ {\n    refresh 2h\n    stale_if_error 1h\n   }\n  }\n }\n}", "shorter than refresh"},
		{"source authorities", "{\n signpost {\n  key_set a {\n   source url https://x.example/ {\n    trust_pool x\n   }\n  }\n }\n}", "tls.ca_pool.source.x"},
		{"jwks_auth argument", ":80 {\n jwks_auth x y\n}", "wrong argument count"},
		{"jwks_auth option", ":80 {\n jwks_auth {\n  audiance x\n }\n}", `jwks_auth has no option "audiance"`},
		{"jwks_auth twice", ":80 {\n jwks_auth {\n  revoked file a\n  revoked file b\n }\n}", "revoked is given twice, at Caddyfile:4"},
		{"issuer twice", "{\n signpost {\n  key_set a {\n   source file x\n   issuer a\n   issuer b\n  }\n }\n}", "issuer is given twice"},
		{"leeway twice", ":80 {\n notify_auth {\n  leeway 1s\n  leeway 2s\n }\n}", "leeway is given twice"},
		{"jwks_auth key set twice", ":80 {\n jwks_auth {\n  key_set p p\n }\n}", "key_set p is given twice"},
		{"jwks_auth no bits", ":80 {\n jwks_auth {\n  min_key_bits 0\n  optional\n }\n}", "min_key_bits is 0; it must be 2048 to 16384, at Caddyfile:3"},
		{"jwks_auth few bits", ":80 {\n jwks_auth {\n  min_key_bits 1024\n  optional\n }\n}", "min_key_bits is 1024; it must be 2048 to 16384, at Caddyfile:3"},
		{"jwks_auth algorithm", ":80 {\n jwks_auth {\n  algorithms HS256\n }\n}", "symmetric"},
		{"jwks_auth none", ":80 {\n jwks_auth {\n  algorithms none\n }\n}", `"none" is not one of`},
		{"jwks_auth bits", ":80 {\n jwks_auth {\n  min_key_bits 1024\n }\n}", "2048 to 16384"},
		{"jwks_auth leeway", ":80 {\n jwks_auth {\n  leeway 48h\n }\n}", "24h"},
		{"jwks_auth token_from", ":80 {\n jwks_auth {\n  token_from body x\n }\n}", "header, cookie or query"},
		{"jwks_auth token_from arguments", ":80 {\n jwks_auth {\n  token_from cookie\n }\n}", "token_from cookie <name>"},
		{"jwks_auth claim", ":80 {\n jwks_auth {\n  claim sub X-Subject\n }\n}", "claim <claim> header <name>"},
		{"jwks_auth claim header", ":80 {\n jwks_auth {\n  claim sub header Connection\n }\n}", "Connection"},
		{"jwks_auth claim format", ":80 {\n jwks_auth {\n  claim sub header X-S xml\n }\n}", "comma or json"},
		{"jwks_auth forward", ":80 {\n jwks_auth {\n  forward_token yes\n }\n}", "on, off"},
		{"jwks_auth optional", ":80 {\n jwks_auth {\n  optional on\n }\n}", "wrong argument count"},
		{"jwks_auth revoked", ":80 {\n jwks_auth {\n  revoked url x\n }\n}", "revoked file <path>"},
		{"jwks_auth rsa", ":80 {\n jwks_auth {\n  rsa_verify quick\n }\n}", "fast, stdlib"},
		{"jwks_auth errors", ":80 {\n jwks_auth {\n  errors mine\n }\n}", "own, handle"},
		{"jwks_auth issuer alone", ":80 {\n jwks_auth {\n  issuer x\n }\n}", "belong to a source"},
		{"jwks_auth both", ":80 {\n jwks_auth {\n  key_set a\n  source file x\n }\n}", "not both"},
		{"jwks_publish arguments", ":80 {\n jwks_publish a b\n}", "wrong argument count"},
		{"jwks_publish option", ":80 {\n jwks_publish a {\n  x\n }\n}", `jwks_publish has no option "x"`},
		{"jwks_publish path", ":80 {\n jwks_publish a {\n  path keys\n }\n}", "start with a slash"},
		{"claim matcher", ":80 {\n @a signpost_claim\n respond @a x\n}", "wrong argument count"},
		{"client without id", "{\n signpost {\n  client {\n  }\n }\n}", "wrong argument count"},
		{"client option", "{\n signpost {\n  client a {\n   kees x\n  }\n }\n}", `client has no option "kees"; it has: name, keys, callback, fail_startup`},
		{"client without keys", "{\n signpost {\n  client a {\n   callback https://a.example/\n  }\n }\n}", "client a has no keys"},
		{"client without callback", "{\n signpost {\n  client a {\n   keys file x\n  }\n }\n}", "client a has no callback"},
		{"signing_api argument", ":80 {\n signing_api x y\n}", "wrong argument count"},
		{"signing_api without base", ":80 {\n signing_api\n}", "base_url is required"},
		{"signing_api option", ":80 {\n signing_api {\n  base_ulr x\n }\n}", `signing_api has no option "base_ulr"`},
		{"signing_api by http", ":80 {\n signing_api {\n  base_url http://sign.example.org\n  mock on\n }\n}", "https"},
		{"signing_api slash", ":80 {\n signing_api {\n  base_url https://sign.example.org/\n  mock on\n }\n}", "must not end with a slash"},
		{"signing_api without trust", ":80 {\n signing_api {\n  base_url https://sign.example.org\n }\n}", "needs a trust_pool"},
		{"signing_api profile", ":80 {\n signing_api {\n  profile lax\n }\n}", "strict, documented, int2022"},
		{"signing_api int2022", ":80 {\n signing_api {\n  base_url https://sign.example.org\n  trust_pool file x\n  profile int2022\n }\n}", "needs the mock to be on"},
		{"signing_api algorithm", ":80 {\n signing_api {\n  base_url https://sign.example.org\n  mock on\n  signature_algorithms RS512\n }\n}", `"RS512"`},
		{"signing_api key bits", ":80 {\n signing_api {\n  base_url https://sign.example.org\n  mock on\n  min_key_bits 1024\n }\n}", "2048 to 16384"},
		{"signing_api card bits", ":80 {\n signing_api {\n  base_url https://sign.example.org\n  mock on\n  min_card_key_bits 512\n }\n}", "1024 to 16384"},
		{"signing_api hub", ":80 {\n signing_api {\n  hub nhs https://x\n }\n}", "write `hub url <address>` or `hub nhs`"},
		{"signing_api hub address", ":80 {\n signing_api {\n  hub url ftp://x\n }\n}", "ftp"},
		{"signing_api subject", ":80 {\n signing_api {\n  subject_from san\n }\n}", "cn_prefix, serial_number, off"},
		{"signing_api revocation", ":80 {\n signing_api {\n  revocation on\n }\n}", "off, soft, hard"},
		{"signing_api network", ":80 {\n signing_api {\n  base_url https://sign.example.org\n  mock on\n  allow_private 10.0.0.0/99\n }\n}", "10.0.0.0/99"},
		{"signing_api access_token", ":80 {\n signing_api {\n  access_token {\n   client x\n  }\n }\n}", `access_token has no option "client"`},
		{"signing_hub argument", ":80 {\n signing_hub x y\n}", "wrong argument count"},
		{"signing_hub option", ":80 {\n signing_hub {\n  orgins x\n }\n}", `signing_hub has no option "orgins"; it has: origins, requests_from`},
		{"signing_hub without origins", ":80 {\n signing_hub\n}", "signing_hub needs origins"},
		{"signing_hub without keys", ":80 {\n signing_hub {\n  origins https://a.example\n  signer keyfile x\n }\n}", "needs requests_from or key_set"},
		{"signing_hub without signer", ":80 {\n signing_hub {\n  origins https://a.example\n  requests_from https://a.example\n }\n}", "signing_hub needs a signer"},
		{"signing_hub origin", ":80 {\n signing_hub {\n  origins https://a.example/\n  name x\n }\n}", "write https://a.example, at Caddyfile:3"},
		{"signing_hub origin by http", ":80 {\n signing_hub {\n  origins http://a.example\n }\n}", "must begin with https://"},
		{"signing_hub no origin", ":80 {\n signing_hub {\n  origins\n }\n}", "wrong argument count"},
		{"signing_hub requests by http", ":80 {\n signing_hub {\n  requests_from http://a.example\n  name x\n }\n}", "https"},
		{"signing_hub requests slash", ":80 {\n signing_hub {\n  requests_from https://a.example/\n  name x\n }\n}", "no slash at its end"},
		{"signing_hub authorities", ":80 {\n signing_hub {\n  trust_pool x\n }\n}", "tls.ca_pool.source.x"},
		{"signing_hub signer twice", ":80 {\n signing_hub {\n  signer keyfile a\n  signer keyfile b\n }\n}", "signer is given twice, at Caddyfile:4"},
		{"signing_hub signer module", ":80 {\n signing_hub {\n  signer yubikey a\n }\n}", "signpost.signers.yubikey"},
		{"signing_hub consent", ":80 {\n signing_hub {\n  consent always\n }\n}", "page, terminal, never"},
		{"signing_hub address", ":80 {\n signing_hub {\n  address 192.0.2.1:43480\n  name x\n }\n}", "for this computer only, at Caddyfile:3"},
		{"signing_hub compatibility", ":80 {\n signing_hub {\n  unsigned_requests on\n  compatibility off\n }\n}", "unsigned_requests on and compatibility off exclude each other"},
		{"signing_hub no bits", ":80 {\n signing_hub {\n  min_key_bits 0\n }\n}", "min_key_bits is 0; it must be 2048 to 16384"},
		{"signing_hub few bits", ":80 {\n signing_hub {\n  min_key_bits 1024\n  name x\n }\n}", "min_key_bits is 1024; it must be 2048 to 16384, at Caddyfile:3"},
		{"signing_hub leeway", ":80 {\n signing_hub {\n  leeway 48h\n }\n}", "leeway is 48h0m0s; it must be 24h0m0s at most"},
		{"signing_hub timeout", ":80 {\n signing_hub {\n  user_timeout 2h\n }\n}", "user_timeout is 2h0m0s; it must be more than 0 and 1h0m0s at most"},
		{"keyfile without path", ":80 {\n signing_hub {\n  signer keyfile\n }\n}", "wrong argument count"},
		{"keyfile option", ":80 {\n signing_hub {\n  signer keyfile a {\n   pasword x\n  }\n }\n}", `signer keyfile has no option "pasword"; it has: certificate, password`},
		{"pkcs11 without module", ":80 {\n signing_hub {\n  signer pkcs11\n }\n}", "wrong argument count"},
		{"pkcs11 option", ":80 {\n signing_hub {\n  signer pkcs11 a {\n   slot 0\n  }\n }\n}", `signer pkcs11 has no option "slot"; it has: token, pin`},
		{"pkcs11 pin twice", ":80 {\n signing_hub {\n  signer pkcs11 a {\n   pin {env.A}\n   pin {env.B}\n  }\n }\n}", "pin is given twice, at Caddyfile:5"},
		{"health option", ":80 {\n signpost_health {\n  x\n }\n}", "signpost_health has no options"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := adaptCaddyfile(t, c.caddyfile)
			require.Error(t, err)
			require.Contains(t, err.Error(), c.want)
			require.Regexp(t, `Caddyfile:\d+`, err.Error())
		})
	}
}

const senderID = "8e222534-7f05-4972-86e3-17c5d9f894e2"

const clientBlock = "client a {\n keys file /nonexistent/a\n callback https://a.example/\n}\n"

func hubBlock(keys, signer string) string {
	return "signing_hub {\n origins https://a.example\n " + keys + "\n signer " + signer + "\n consent never\n}"
}

// TestLoadErrors: a configuration that could not work does not load, and says
// why.
func TestLoadErrors(t *testing.T) {
	t.Setenv("SIGNPOST_TEST_EMPTY", "")
	key := "key live " + secretOne + "\n"
	for _, c := range []struct{ name, signpost, site, want string }{
		{"short secret", "service a {\n key live tooshort\n}", "", `key "live" of service a has 8 characters, it needs at least 32`},
		{"missing variable", "service a {\n key live {env.SIGNPOST_TEST_NONE}\n}", "", "SIGNPOST_TEST_NONE"},
		{"empty variable", "service a {\n key live {env.SIGNPOST_TEST_EMPTY}\n}", "", "SIGNPOST_TEST_EMPTY"},
		{"missing file", "service a {\n key live {file./nonexistent/secret}\n}", "", "/nonexistent/secret"},
		{"one secret for two", "service a {\n " + key + "}\nservice b {\n " + key + "}", "", "has the secret of service a"},
		{"service twice", "service a {\n " + key + "}\nservice a {\n " + key + "}", "", "service a is configured twice"},
		{"no key", "service a {\n}", "", "service a has no key"},
		{"key twice", "service a {\n " + key + key + "}", "", "key names must be unique"},
		{"bad id", "service a/b {\n " + key + "}", "", "without blanks and slashes"},
		{"template twice", "service a {\n " + key + "template 1 sms x\ntemplate 1 sms y\n}", "", "template 1 is configured twice"},
		{"email without subject", "service a {\n " + key + "template 1 email x\n}", "", "an email needs a subject"},
		{"secrets key", "storage sqlite x.db {\n secrets_key abc\n}", "", "secrets_key must be 32 bytes as base64"},
		{"channel twice", "delivery sms log\ndelivery sms log", "", "the provider log is given twice"},
		{"postgres DSN", "storage postgres \"a b c\" {\n secrets_key {env.SIGNPOST_SECRETS_KEY}\n}", "", "the DSN can't be parsed"},
		{"postgres key", "storage postgres postgres://h/d {\n secrets_key abc\n}", "", "secrets_key must be 32 bytes as base64"},
		{"no service", "", "notify_auth", "no service is known"},
		{"another service's key string", "service " + serviceID + " {\n key live live-" + senderID + "-" + secretOne + "\n}", "", "it is a key string of another service (" + senderID + ")"},
		{"one number for two", "service a {\n " + key + "inbound_number +447700900123\n}\nservice b {\n key k 00000000-0000-4000-8000-000000000000\n inbound_number +447700900123\n}", "", "a number belongs to one service"},
		{"missing authority", "delivery email smtp mail.example.org {\n from a@example.org\n ca_file /nonexistent/ca.pem\n}", "", "/nonexistent/ca.pem"},
		{"mail server from nowhere", "delivery email smtp {env.SIGNPOST_TEST_NONE} {\n from a@example.org\n}", "", "SIGNPOST_TEST_NONE"},
		{"inbound secret", "delivery sms webhook {\n url https://x.example/\n inbound {\n secret short\n}\n}", "", "the secret of received messages has 5 characters"},
		{"two services", "service a {\n " + key + "}\nservice b {\n key k 00000000-0000-4000-8000-000000000000\n}", "notify_auth", "say with `services` which of them may pass"},
		{"service that can't be", "service a {\n " + key + "}", "notify_auth {\n services b\n}", "ids there are UUIDs in lower case"},
		{"key set twice", "key_set a {\n source inline x\n}\nkey_set a {\n source inline x\n}", "", "inline keys"},
		{"key set without keys", "key_set a {\n source inline `{\"keys\":[]}`\n}", "", "the key set is empty"},
		{"key set of secrets", "key_set a {\n source inline `{\"kty\":\"oct\",\"k\":\"" + secretOne + "\"}`\n}", "", "symmetric"},
		{"key set from nowhere", "key_set a {\n source inline {env.SIGNPOST_TEST_NONE}\n}", "", "SIGNPOST_TEST_NONE"},
		{"unknown key set", "key_set a {\n source file /nonexistent/keys\n}", "jwks_auth {\n key_set b\n}", `there is no key set "b"; the configuration has: ["a"]`},
		{"no key set", "", "jwks_auth", "there are no key sets"},
		{"two key sets", "key_set a {\n source file /nonexistent/a\n}\nkey_set b {\n source file /nonexistent/b\n}", "jwks_auth", "say which of them is meant"},
		{"no revocation list", "key_set a {\n source file /nonexistent/a\n}", "jwks_auth {\n revoked file /nonexistent/revoked\n}", "/nonexistent/revoked"},
		{"fail_startup", "key_set a {\n source file /nonexistent/keys\n fail_startup\n}", "", "/nonexistent/keys"},
		{"published key set", "", "jwks_publish a", "there are no key sets"},
		{"client twice", clientBlock + clientBlock, "", "client a is configured twice"},
		{"client callback", strings.Replace(clientBlock, "https://a.example/", "http://a.example/", 1), "", "client a: "},
		{"signing by web authorities", clientBlock, "signing_api {\n base_url https://a.example\n trust_pool system\n}", "not for people"},
		{"client callback with a token", strings.Replace(clientBlock, "https://a.example/", "https://a.example/?token=1", 1), "", "must not have token or state"},
		{"signing without access keys", clientBlock, "signing_api {\n base_url https://a.example\n mock on\n access_token {\n }\n}", "access_token: there are no key sets"},
		{"hub for everybody", "", hubBlock("requests_from https://a.example", "keyfile /nonexistent/key"), "signing_hub is for this computer only"},
		{"hub without key set", "", "bind 127.0.0.1\n" + hubBlock("key_set a", "keyfile /nonexistent/key"), "there are no key sets"},
		{"hub with unknown key set", "key_set a {\n source file /nonexistent/a\n}", "bind 127.0.0.1\n" + hubBlock("key_set b", "keyfile /nonexistent/key"), `there is no key set "b"`},
		{"hub without key", "key_set a {\n source file /nonexistent/a\n}", "bind 127.0.0.1\n" + hubBlock("key_set a", "keyfile /nonexistent/key"), "/nonexistent/key can't be opened"},
		{"hub without PIN", "key_set a {\n source file /nonexistent/a\n}", "bind 127.0.0.1\n" + hubBlock("key_set a", "pkcs11 /nonexistent/module.so {\n pin {env.SIGNPOST_TEST_EMPTY}\n}"), "SIGNPOST_TEST_EMPTY"},
		{"reserved name", "delivery sms webhook {\n url https://x.example/\n name simulated\n}", "", "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := ""
			if c.site != "" {
				site = "http://127.0.0.1:" + "1" + " {\n" + c.site + "\n}\n"
			}
			err := tryLoad(t, globals(c.signpost)+site)
			require.Error(t, err)
			require.Contains(t, err.Error(), c.want)
			require.NotContains(t, err.Error(), secretOne)
		})
	}
}
