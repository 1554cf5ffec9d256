package pkcs11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"sync"

	ck "github.com/miekg/pkcs11"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/rsacert"
)

// hashing are the mechanisms with which the token hashes the document, too.
var hashing = map[string]uint{hub.RS256: ck.CKM_SHA256_RSA_PKCS, hub.RS1: ck.CKM_SHA1_RSA_PKCS}

// batch is what one Sign is at. The job in the module and the caller, who may
// leave first, share what the mutex guards.
type batch struct {
	request   hub.SignRequest
	hash      crypto.Hash
	public    *rsa.PublicKey
	id        []byte // CKA_ID of the certificate
	mechanism uint

	mu         sync.Mutex
	signatures [][]byte
	left       bool // the caller
}

// Sign implements [hub.Signer]. A wrong PIN is asked for again for as long as
// the request's PIN function answers with another one.
func (s *Signer) Sign(ctx context.Context, r hub.SignRequest) ([][]byte, error) {
	hash, err := rsacert.Hash(r.Algorithm)
	if err != nil || len(r.Documents) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b := &batch{request: r, hash: hash}
	err = s.sign(ctx, b)
	return b.leave(), explain(err)
}

func (s *Signer) sign(ctx context.Context, b *batch) error {
	var token cryptoki.Token
	err := s.within(ctx, s.config.CallTimeout, func(session *session) error {
		token = session.token
		return b.prepare(session)
	})
	if err != nil {
		return err
	}
	pins := s.pinsFor(token, b.request.PIN)
	for {
		login, err := pins.next(ctx)
		if err != nil {
			return err
		}
		var after cryptoki.Token
		err = s.within(ctx, login.timeout(s.config.CallTimeout), func(session *session) error {
			if session.token.Serial != token.Serial || session.token.Label != token.Label {
				// What was agreed to, and the PIN, were for the other one.
				return failed(hub.CodeNoCard, textRemoved, errors.New("pkcs11: the token was changed for another"))
			}
			return session.run(ctx, b, login, &after)
		})
		refused, ok := errors.AsType[*refusedError](err)
		if !ok {
			return err
		}
		if err := pins.refused(login, after, refused); err != nil {
			return err
		}
	}
}

// prepare finds the certificate and how to sign with it.
func (b *batch) prepare(s *session) error {
	all, err := s.certificates()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(c held) bool { return rsacert.ID(c.Certificate) == b.request.CertificateID })
	if i < 0 || rsacert.Key(all[i].Certificate) == nil {
		return failed(hub.CodeNoCertificate, "The smartcard doesn't have the certificate that was chosen.",
			errors.New("pkcs11: no certificate on the token has the id that was asked for"))
	}
	b.public, b.id = rsacert.Key(all[i].Certificate), all[i].id
	mechanisms, err := s.api.GetMechanismList(s.slot)
	if err != nil {
		return err
	}
	for _, m := range []uint{hashing[b.request.Algorithm], ck.CKM_RSA_PKCS} {
		if slices.Contains(mechanisms, m) {
			b.mechanism = m
			return nil
		}
	}
	return failed(hub.CodeUnsupportedAlgorithm, "", fmt.Errorf("pkcs11: the token has no mechanism for %s", b.request.Algorithm))
}

// run logs in and signs what isn't signed yet.
func (s *session) run(ctx context.Context, b *batch, login login, after *cryptoki.Token) error {
	if err := s.login(login, after); err != nil {
		return err
	}
	if login.needed {
		// So that the PIN is good for this batch only, whoever else has a session.
		defer func() { _ = s.api.Logout(s.handle) }()
	}
	key, always, err := s.privateKey(b)
	if err != nil {
		return err
	}
	for {
		n := b.done()
		if n == len(b.request.Documents) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		signature, err := s.signOne(b, key, always, login, after, b.request.Documents[n])
		if err != nil {
			return err
		}
		b.add(signature)
		s.alive()
	}
}

// privateKey finds the certificate's key, and whether it wants the PIN for each
// signature.
func (s *session) privateKey(b *batch) (object cryptoki.Object, always bool, err error) {
	keys, err := s.keys(ck.CKO_PRIVATE_KEY)
	if err != nil {
		return 0, false, err
	}
	i := slices.IndexFunc(keys, func(k key) bool { return k.belongsTo(b.public, b.id) })
	if i < 0 {
		return 0, false, failed(hub.CodeNoCertificate, "The smartcard doesn't have the private key of the certificate that was chosen.",
			errors.New("pkcs11: no private key on the token belongs to the certificate"))
	}
	value, err := s.attribute(keys[i].object, ck.CKA_ALWAYS_AUTHENTICATE)
	return keys[i].object, cryptoki.IsTrue(value), err
}

// signOne signs a document and checks the signature: a faulty one would tell
// the private key to who can compute, and a card whose key isn't its
// certificate's should say so here rather than after the upload.
func (s *session) signOne(b *batch, key cryptoki.Object, always bool, login login, after *cryptoki.Token, document []byte) ([]byte, error) {
	digest := rsacert.Digest(b.hash, document)
	data := document
	if b.mechanism == ck.CKM_RSA_PKCS {
		data = rsacert.DigestInfo(b.hash, digest)
	}
	if err := s.api.SignInit(s.handle, b.mechanism, key); err != nil {
		return nil, err
	}
	if always {
		s.presented = true
		if err := s.afterLogin(s.api.Login(s.handle, ck.CKU_CONTEXT_SPECIFIC, login.pin), after); err != nil {
			return nil, err
		}
	}
	signature, err := s.api.Sign(s.handle, data)
	if err != nil {
		return nil, err
	}
	signature = pad(signature, b.public.Size())
	if err := rsa.VerifyPKCS1v15(b.public, b.hash, digest, signature); err != nil {
		return nil, failed(hub.CodeInternal, "The smartcard made a signature that doesn't fit its certificate.",
			errors.New("pkcs11: a signature doesn't verify with the certificate's key"))
	}
	return signature, nil
}

// pad restores the leading zeros that some modules leave out.
func pad(signature []byte, size int) []byte {
	if len(signature) >= size {
		return signature
	}
	return append(bytes.Repeat([]byte{0}, size-len(signature)), signature...)
}

func (b *batch) done() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.signatures)
}

// add takes a signature, unless the caller has left.
func (b *batch) add(signature []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left {
		return
	}
	b.signatures = append(b.signatures, signature)
	if b.request.Progress != nil {
		b.request.Progress(len(b.signatures))
	}
}

// leave returns the signatures made so far, and takes no more.
func (b *batch) leave() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = true
	return b.signatures
}
