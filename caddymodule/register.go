// Package caddymodule adapts Signpost to Caddy. It registers every module,
// directive, directive order, global option and command; the rules are in the
// packages below handlers/, which know nothing of Caddy.
package caddymodule

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// All registration is here, because the relative order of directives depends
// on the order of these calls.
func init() {
	for _, m := range []caddy.Module{
		App{},
		StorageSQLite{},
		StoragePostgres{},
		StorageMemory{},
		KeySourceInline{},
		KeySourceFile{},
		KeySourceURL{},
		DeliveryLog{},
		DeliveryWebhook{},
		DeliverySMTP{},
		NotifyAuth{},
		NotifyProvider{},
		JWKSAuth{},
		JWKSProvider{},
		MatchClaim{},
		NotifyAPI{},
		SigningAPI{},
		SigningHub{},
		SignerKeyfile{},
		SignerPKCS11{},
		JWKSPublish{},
		Health{},
		adminAPI{},
	} {
		caddy.RegisterModule(m)
	}

	httpcaddyfile.RegisterGlobalOption(appID, parseGlobalOption)

	httpcaddyfile.RegisterHandlerDirective("notify_auth", parseNotifyAuth)
	httpcaddyfile.RegisterHandlerDirective("jwks_auth", parseJWKSAuth)
	httpcaddyfile.RegisterHandlerDirective("notify_api", parseNotifyAPI)
	httpcaddyfile.RegisterHandlerDirective("signing_api", parseSigningAPI)
	httpcaddyfile.RegisterHandlerDirective("signing_hub", parseSigningHub)
	httpcaddyfile.RegisterHandlerDirective("jwks_publish", parseJWKSPublish)
	httpcaddyfile.RegisterHandlerDirective("signpost_health", parseHealth)

	// Only Before keeps the order of the calls.
	httpcaddyfile.RegisterDirectiveOrder("notify_auth", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("jwks_auth", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("notify_api", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterDirectiveOrder("signing_api", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterDirectiveOrder("signing_hub", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterDirectiveOrder("jwks_publish", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterDirectiveOrder("signpost_health", httpcaddyfile.Before, "respond")

	caddycmd.RegisterCommand(command())
}
