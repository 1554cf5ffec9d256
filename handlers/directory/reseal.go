package directory

import (
	"encoding/json"
	"fmt"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Reseal returns the secret of a stored key, sealed under another secrets key.
func Reseal(k storage.APIKey, from, to *storage.Sealer) ([]byte, error) {
	secret, err := from.Open(k.Secret, sealContext(k))
	if err != nil {
		return nil, err
	}
	return to.Seal(secret, sealContext(k)), nil
}

// ResealSettings returns the settings of a stored service with their secrets
// sealed under another secrets key. Members that this program doesn't know stay.
func ResealSettings(serviceID string, settings []byte, from, to *storage.Sealer) ([]byte, error) {
	s, err := parseSettings(settings)
	if err != nil || s.Callback == nil {
		return settings, err
	}
	context := bearerContext(serviceID, s.Callback.URL)
	bearer, err := from.Open(s.Callback.Bearer, context)
	if err != nil {
		return nil, fmt.Errorf("the bearer token of the callback: %w", err)
	}
	var all, callback map[string]json.RawMessage
	if err := json.Unmarshal(settings, &all); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(all["callback"], &callback); err != nil {
		return nil, err
	}
	if callback["bearer"], err = json.Marshal(to.Seal(bearer, context)); err != nil {
		return nil, err
	}
	if all["callback"], err = json.Marshal(callback); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}
