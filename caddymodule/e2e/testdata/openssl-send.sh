#!/usr/bin/env bash
# Sends one text message through the notification API with nothing but bash,
# openssl and curl, and prints the answer.
#
#   SIGNPOST_URL       where the API is, such as https://localhost:8443
#   SIGNPOST_SERVICE   the service's id
#   SIGNPOST_SECRET    the secret of one of its keys
#   TO                 the phone number
#   TEMPLATE           the template's id
#   CODE               the value of its placeholder ((code)), by default 12345
set -euo pipefail
: "${SIGNPOST_URL:?}" "${SIGNPOST_SERVICE:?}" "${SIGNPOST_SECRET:?}" "${TO:?}" "${TEMPLATE:?}"

# The key of all three signatures is the secret's text as it stands.
hmac() { openssl dgst -sha256 -hmac "$SIGNPOST_SECRET" -binary; }
base64url() {
	local text
	text=$(openssl base64 -A)
	text=${text//+/-}
	text=${text//\//_}
	printf %s "${text%%=*}"
}

path=/notifications/sms
body='{"to":"'$TO'","template":"'$TEMPLATE'","personalisation":{"code":"'${CODE:-12345}'"}}'

req=$(printf 'POST %s' "$path" | hmac | openssl base64 -A)
pay=$(printf %s "$body" | hmac | openssl base64 -A)
printf -v iat '%(%s)T' -1

header=$(printf '{"typ":"JWT","alg":"HS256"}' | base64url)
claims=$(printf '{"iss":"%s","iat":%d,"req":"%s","pay":"%s"}' "$SIGNPOST_SERVICE" "$iat" "$req" "$pay" | base64url)
signature=$(printf %s "$header.$claims" | hmac | base64url)

curl -k --silent --show-error --fail-with-body "$SIGNPOST_URL$path" \
	-H "Authorization: Bearer $header.$claims.$signature" \
	-H 'Content-Type: application/json' \
	--data-binary "$body"
