package directory

import "github.com/signpost-gateway/signpost/handlers/storage"

// Reseal returns the secret of a stored key, sealed under another secrets key.
func Reseal(k storage.APIKey, from, to *storage.Sealer) ([]byte, error) {
	secret, err := from.Open(k.Secret, sealContext(k))
	if err != nil {
		return nil, err
	}
	return to.Seal(secret, sealContext(k)), nil
}
