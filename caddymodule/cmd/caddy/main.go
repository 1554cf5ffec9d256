// Command caddy is the standard Caddy with Signpost's modules. xcaddy.sh
// builds it where xcaddy is not installed.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/signpost-gateway/signpost/caddymodule"
)

func main() {
	caddycmd.Main()
}
