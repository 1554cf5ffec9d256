package openapi

import (
	"encoding/json"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestValid(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context(), openapi3.EnableExamplesValidation()))
}

// Every object says what it consists of: whatever may be missing is a request's
// or a link, and what may be added is what a client chooses.
func TestClosed(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	require.NoError(t, err)
	open := map[string]bool{"Personalisation": true, "PreviewRequest": true}
	partial := map[string]bool{
		"SmsRequest": true, "EmailRequest": true, "LetterRequest": true, "PrecompiledLetterRequest": true,
		"PreviewRequest": true, "Personalisation": true, "Links": true,
	}
	for name, ref := range doc.Components.Schemas {
		schema := ref.Value
		if !schema.Type.Is("object") {
			continue
		}
		closed := schema.AdditionalProperties.Has != nil && !*schema.AdditionalProperties.Has
		assert.Equal(t, !open[name], closed, name)
		if partial[name] {
			continue
		}
		for property := range schema.Properties {
			assert.Contains(t, schema.Required, property, name)
		}
	}
}

func TestDocument(t *testing.T) {
	for server, want := range map[string]string{
		"":                               "/",
		"https://notify.example.org":     "https://notify.example.org",
		"http://127.0.0.1:8080/api":      "http://127.0.0.1:8080/api",
		`https://x/"},{"url":"https://y`: `https://x/"},{"url":"https://y`,
		"https://x/\xff":                 "https://x/\ufffd",
	} {
		doc, err := openapi3.NewLoader().LoadFromData(Document(server))
		require.NoError(t, err)
		require.Len(t, doc.Servers, 1)
		assert.Equal(t, want, doc.Servers[0].URL)
	}
	var whole, served map[string]any
	require.NoError(t, json.Unmarshal(document, &whole))
	require.NoError(t, json.Unmarshal(Document(""), &served))
	assert.Equal(t, whole, served)
}
