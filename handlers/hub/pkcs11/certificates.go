package pkcs11

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"slices"

	ck "github.com/miekg/pkcs11"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/rsacert"
)

// maxObjects bounds how many keys or certificates are read of a token.
const maxObjects = 256

// key is an RSA key on the token.
type key struct {
	object  cryptoki.Object
	id      []byte // CKA_ID
	modulus []byte // CKA_MODULUS, nil when the token keeps it to itself
}

// belongsTo tells whether it is the key of a certificate with an id: by its
// modulus, or else by the id, which the two have in common by convention only.
func (k key) belongsTo(public *rsa.PublicKey, id []byte) bool {
	if len(k.modulus) > 0 {
		return bytes.Equal(bytes.TrimLeft(k.modulus, "\x00"), public.N.Bytes())
	}
	return len(id) > 0 && bytes.Equal(k.id, id)
}

// held is a certificate on the token.
type held struct {
	*x509.Certificate
	id []byte
}

func (s *session) certificates() ([]held, error) {
	objects, err := s.api.FindObjects(s.handle, []cryptoki.Attribute{
		cryptoki.Number(ck.CKA_CLASS, ck.CKO_CERTIFICATE),
		cryptoki.Number(ck.CKA_CERTIFICATE_TYPE, ck.CKC_X_509),
	}, maxObjects)
	if err != nil {
		return nil, err
	}
	var all []held
	for _, o := range objects {
		der, err := s.attribute(o, ck.CKA_VALUE)
		if err != nil {
			return nil, err
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			continue // it could not be checked by anybody either
		}
		id, err := s.attribute(o, ck.CKA_ID)
		if err != nil {
			return nil, err
		}
		all = append(all, held{certificate, id})
		s.alive()
	}
	return all, nil
}

// keys returns the RSA keys of a class that can be seen in the session's state:
// most tokens show private ones only to who is logged in.
func (s *session) keys(class uint) ([]key, error) {
	objects, err := s.api.FindObjects(s.handle, []cryptoki.Attribute{
		cryptoki.Number(ck.CKA_CLASS, class),
		cryptoki.Number(ck.CKA_KEY_TYPE, ck.CKK_RSA),
	}, maxObjects)
	if err != nil {
		return nil, err
	}
	all := make([]key, len(objects))
	for i, o := range objects {
		all[i].object = o
		if all[i].id, err = s.attribute(o, ck.CKA_ID); err != nil {
			return nil, err
		}
		if all[i].modulus, err = s.attribute(o, ck.CKA_MODULUS); err != nil {
			return nil, err
		}
		s.alive()
	}
	return all, nil
}

// attribute returns nil for an attribute that the object doesn't have or show.
func (s *session) attribute(o cryptoki.Object, attribute uint) ([]byte, error) {
	value, err := s.api.GetAttribute(s.handle, o, attribute)
	switch cryptoki.CodeOf(err) {
	case ck.CKR_ATTRIBUTE_TYPE_INVALID, ck.CKR_ATTRIBUTE_SENSITIVE:
		return nil, nil
	default:
		return value, err
	}
}

// algorithms returns what the token can sign with, best first.
func (s *session) algorithms() ([]string, error) {
	list, err := s.api.GetMechanismList(s.slot)
	if err != nil {
		return nil, err
	}
	return algorithmsOf(list), nil
}

func algorithmsOf(mechanisms []uint) []string {
	var names []string
	for _, name := range []string{hub.RS256, hub.RS1} {
		if slices.Contains(mechanisms, hashing[name]) || slices.Contains(mechanisms, ck.CKM_RSA_PKCS) {
			names = append(names, name)
		}
	}
	return names
}

// signing returns the certificates that have their private key on the token, as
// far as can be told without a PIN.
func (s *session) signing() ([]hub.Certificate, error) {
	algorithms, err := s.algorithms()
	if err != nil {
		return nil, err
	}
	all, err := s.certificates()
	if err != nil {
		return nil, err
	}
	keys, err := s.keys(ck.CKO_PRIVATE_KEY)
	if err != nil {
		return nil, err
	}
	// Where private keys are hidden, the public ones beside them tell; where
	// there is nothing to see, a card's certificates are its user's.
	hidden := s.token.Flags&ck.CKF_LOGIN_REQUIRED != 0
	if hidden {
		public, err := s.keys(ck.CKO_PUBLIC_KEY)
		if err != nil {
			return nil, err
		}
		keys = append(keys, public...)
	}
	candidates := make([]*x509.Certificate, len(all))
	for i, c := range all {
		candidates[i] = c.Certificate
	}
	var found []hub.Certificate
	for _, c := range all {
		public := rsacert.Key(c.Certificate)
		switch {
		case public == nil:
		case slices.ContainsFunc(keys, func(k key) bool { return k.belongsTo(public, c.id) }),
			hidden && len(keys) == 0 && !c.IsCA:
			found = append(found, rsacert.New(c.Certificate, candidates, algorithms...))
		}
	}
	return found, nil
}
