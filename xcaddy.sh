#!/usr/bin/env bash
# Builds, runs and tests a Caddy with Signpost's modules.
#
#   ./xcaddy.sh [--with MODULE[@VERSION][=PATH]]...       build ./caddy
#   ./xcaddy.sh hub [--with ...]                          build ./caddy-hub, which can use
#                                                         smartcards (with cgo; needs gcc)
#   ./xcaddy.sh run [--with ...]                          build, then run Caddyfile.example,
#                                                         with a key pair made in data/
#   ./xcaddy.sh test                                      install what is missing, run every test
#
# Environment: OUTPUT (default ./caddy, and ./caddy-hub for hub).
#
# An installed xcaddy does the build; without one, plain Go builds
# caddymodule/cmd/caddy, which comes to the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly module=github.com/signpost-gateway/signpost
readonly tags=nobadger,nomysql,nopgx
cgo=0
output=${OUTPUT:-caddy}
[ "${1:-}" != hub ] || output=${OUTPUT:-caddy-hub}
case $output in /*) ;; *) output=$PWD/$output ;; esac

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'xcaddy.sh: %s\n' "$*" >&2; exit 1; }

usage() { sed -n '2,/^$/p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' | sed '/^set /,$d'; }

need_go() {
	command -v go >/dev/null || die "Go is not installed: see https://go.dev/doc/install (version $(sed -n 's/^go //p' go.mod) or newer)"
}

# The version of Caddy is the one that go.mod pins, so that both ways of
# building and the tests agree.
caddy_version() { go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2; }

build() {
	need_go
	local -a with=()
	while [ $# -gt 0 ]; do
		case $1 in
		--with) [ $# -ge 2 ] || die "--with needs a module"; with+=("$2"); shift 2 ;;
		--with=*) with+=("${1#--with=}"); shift ;;
		*) die "unknown argument $1 (see ./xcaddy.sh help)" ;;
		esac
	done
	export CGO_ENABLED=$cgo
	say "building $output (the first build of Caddy takes a few minutes)"
	if command -v xcaddy >/dev/null; then
		local -a args=(--output "$output" --with "$module/caddymodule" --replace "$module=$PWD")
		local w
		for w in "${with[@]+"${with[@]}"}"; do args+=(--with "$w"); done
		XCADDY_GO_BUILD_FLAGS="-trimpath -tags $tags -ldflags '-s -w'" xcaddy build "$(caddy_version)" "${args[@]}"
	elif [ ${#with[@]} -eq 0 ]; then
		go build -trimpath -tags "$tags" -ldflags '-s -w' -o "$output" ./caddymodule/cmd/caddy
	else
		build_with "${with[@]}"
	fi
	"$output" version
	say "modules"
	# Without --packages, which are not shown of the main module.
	"$output" list-modules | grep -E 'signpost|notify|jwks|signing' || die "the binary does not list Signpost's modules"
}

# build_hub builds the binary with smartcards: PKCS #11 modules are C libraries.
build_hub() {
	require_tools gcc='gcc libc6-dev'
	cgo=1
	build "$@"
}

# build_with does what xcaddy does: a main module of its own that imports
# Caddy, Signpost and each module given.
build_with() {
	local dir w path
	dir=$(mktemp -d)
	# shellcheck disable=SC2064 # expand now
	trap "rm -rf '$dir'" EXIT
	{
		printf 'package main\n\nimport (\n\tcaddycmd "github.com/caddyserver/caddy/v2/cmd"\n'
		printf '\t_ "github.com/caddyserver/caddy/v2/modules/standard"\n\t_ "%s/caddymodule"\n' "$module"
		for w in "$@"; do path=${w%%=*}; printf '\t_ "%s"\n' "${path%%@*}"; done
		printf ')\n\nfunc main() { caddycmd.Main() }\n'
	} >"$dir/main.go"
	# Signpost's own go.mod as a start keeps the versions that it was tested with.
	sed "1s#.*#module caddy#" go.mod >"$dir/go.mod"
	cp go.sum "$dir/go.sum"
	local root=$PWD
	(
		cd "$dir"
		go mod edit -require "$module@v0.0.0" -replace "$module=$root"
		for w in "$@"; do
			path=${w%%=*}
			if [ "$w" != "$path" ]; then
				go mod edit -replace "${path%%@*}=$(cd "$root" && realpath "${w#*=}")"
				path=${path%%@*}
				go mod edit -require "$path@v0.0.0"
			else
				go get "$path"
			fi
		done
		go mod tidy -e >/dev/null 2>&1 || true
		go build -trimpath -tags "$tags" -ldflags '-s -w' -o "$output" .
	)
}

# demo_keys makes the key pair of the example's key set, once.
demo_keys() {
	[ ! -e data/demo.jwks.json ] || return 0
	say "making the example's key pair: data/demo.key.pem (private), data/demo.jwks.json (public)"
	mkdir -p -m 700 data
	"$output" signpost jwks generate --kid demo --private data/demo.key.pem --public data/demo.jwks.json >/dev/null ||
		die "move data/demo.key.pem away to have a new pair made"
}

# require_tools COMMAND=PACKAGES... installs the Debian packages of the commands
# that are missing.
require_tools() {
	local -a missing=() sudo=()
	local pair
	for pair in "$@"; do
		# shellcheck disable=SC2206 # several packages may bring one command
		command -v "${pair%%=*}" >/dev/null || missing+=(${pair#*=})
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || die "please install: ${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || die "please install (as root): apt-get install ${missing[*]}"
		sudo=(sudo)
	fi
	say "installing ${missing[*]}"
	"${sudo[@]+"${sudo[@]}"}" apt-get update -qq
	"${sudo[@]+"${sudo[@]}"}" env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

run_tests() {
	need_go
	# A C compiler for the race detector and for smartcards, SoftHSM and OpenSC for
	# these too, curl and openssl for the README's own commands, strace for the
	# drill that watches the syncs, Node for the SignalR client and for Notify's
	# public clients, a browser for the signing page, under any of its names, and
	# PostgreSQL and PgBouncer, which the tests start by themselves: Debian keeps
	# them off PATH.
	local browser=${SIGNPOST_CHROMIUM:-} name server bouncer=pgbouncer
	[ ! -x /usr/sbin/pgbouncer ] || bouncer=/usr/sbin/pgbouncer
	server=$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | head -n 1 || true)
	for name in google-chrome chromium-browser chromium; do
		if command -v "$name" >/dev/null; then browser=$name; fi
	done
	require_tools gcc='gcc libc6-dev' curl=curl openssl=openssl strace=strace \
		softhsm2-util=softhsm2 pkcs11-tool=opensc node=nodejs npm=npm "${browser:-chromium}=chromium" \
		"${server:-postgres}=postgresql" "$bouncer=pgbouncer"
	build
	say "go test -race ./..."
	# The end-to-end tests run the binary just built.
	SIGNPOST_CADDY=$output CGO_ENABLED=1 go test -race -tags "$tags" -timeout 20m "$@" ./...
}

case ${1:-build} in
build) [ $# -eq 0 ] || shift; build "$@" ;;
hub) shift; build_hub "$@" ;;
--with*) build "$@" ;;
run)
	shift
	build "$@"
	demo_keys
	say "running Caddyfile.example; stop with Ctrl-C"
	exec "$output" run --config Caddyfile.example --adapter caddyfile
	;;
test) shift; run_tests "$@" ;;
help | -h | --help) usage ;;
*) usage >&2; die "unknown command $1" ;;
esac
