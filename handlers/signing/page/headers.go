package page

import "net/http"

// permissionsPolicy leaves the page what it needs to reach a hub (Chromium's
// Local Network Access, under its names of versions 142 and 145) and takes the
// rest of what a person could be asked for.
const permissionsPolicy = "local-network-access=(self), loopback-network=(self), " +
	"camera=(), display-capture=(), geolocation=(), hid=(), microphone=(), midi=(), " +
	"payment=(), serial=(), usb=()"

// contentSecurityPolicy is the policy of a page that may connect to its own
// origin and to the hub.
func contentSecurityPolicy(hub string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
		"connect-src 'self' " + hub + "; base-uri 'none'; form-action 'none'; " +
		"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
}

func (p *Page) setHeaders(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Language", "en")
	header.Set("Content-Security-Policy", p.policy)
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Permissions-Policy", permissionsPolicy)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Robots-Tag", "noindex, nofollow, noarchive")
}
