// Package openapi holds the description of the notification API's v2 dialect in
// OpenAPI 3.0: every route, parameter and object with all its members, and
// every error. It was written from section 2.2 of the wire reference, and the
// tests of the notification API check each of its answers against it.
//
// The document is openapi.json; it passes the recommended rules of Redocly's
// linter:
//
//	npx --yes @redocly/cli@2.77.0 lint handlers/notifications/openapi/openapi.json
package openapi

import (
	"bytes"
	_ "embed" // the document
	"encoding/json"
)

//go:embed openapi.json
var document []byte

// serverURL is the address of the server in openapi.json: that of whoever asks.
const serverURL = `"servers":[{"url":"/"`

var beforeURL, afterURL = split()

// split returns the document in its shortest form, without the server's address.
func split() (before, after []byte) {
	var b bytes.Buffer
	if err := json.Compact(&b, document); err != nil {
		panic("openapi: the embedded document is damaged: " + err.Error())
	}
	before, after, found := bytes.Cut(b.Bytes(), []byte(serverURL))
	if !found {
		panic("openapi: the embedded document names no server")
	}
	return before, after
}

// Document returns the description of the API as JSON. server is the address at
// which the API is served, without a slash at its end, such as
// "https://notify.example.org/api"; empty stands for the root of the host that
// the document comes from.
func Document(server string) []byte {
	if server == "" {
		server = "/"
	}
	quoted, err := json.Marshal(server)
	if err != nil { // can't be: any string can be encoded
		quoted = []byte(`"/"`)
	}
	out := make([]byte, 0, len(beforeURL)+len(serverURL)+len(quoted)+len(afterURL))
	out = append(out, beforeURL...)
	out = append(out, serverURL[:len(serverURL)-len(`"/"`)]...)
	out = append(out, quoted...)
	return append(out, afterURL...)
}
