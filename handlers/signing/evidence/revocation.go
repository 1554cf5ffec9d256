package evidence

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	// revocationTime bounds the look-ups for one upload.
	revocationTime = 10 * time.Second
	// maxChains is how many ways to a trusted authority are looked at.
	maxChains = 8
)

// revokedError says that a list in force holds a certificate of a chain.
type revokedError struct {
	depth int // 0 is the leaf
}

func (e *revokedError) Error() string {
	return fmt.Sprintf("the certificate at depth %d is on its authority's revocation list", e.depth)
}

// checkRevocation picks the best chain: one without a revoked certificate, or
// else one of which it can't be told. The leaf must be revoked in none.
func (v *Verifier) checkRevocation(parent context.Context, chains [][]*x509.Certificate) ([]*x509.Certificate, RevocationState, error) {
	ctx, cancel := context.WithTimeout(parent, revocationTime)
	defer cancel()
	var good, doubtful []*x509.Certificate
	var doubt, revoked error
	for _, chain := range chains[:min(len(chains), maxChains)] {
		err := v.lists.checkChain(ctx, chain)
		if parent.Err() != nil {
			return nil, "", fmt.Errorf("evidence: %w", context.Cause(parent))
		}
		r, isRevoked := errors.AsType[*revokedError](err)
		switch {
		case isRevoked && r.depth == 0:
			return nil, "", refuseFor(err, CodeRevoked, "The certificate has been revoked")
		case isRevoked:
			revoked = err
		case err != nil && doubtful == nil:
			doubtful, doubt = chain, err
		case err == nil && good == nil:
			good = chain
		}
	}
	switch {
	case len(good) == 1: // the leaf is itself trusted
		return good, NotChecked, nil
	case good != nil:
		return good, NotRevoked, nil
	case doubtful == nil:
		return nil, "", refuseFor(revoked, CodeRevoked, "The certificate of an authority that vouches for the certificate has been revoked")
	case v.revocation == RevocationHard:
		return nil, "", refuseFor(doubt, CodeRevocationUnknown, "It could not be checked whether the certificate has been revoked")
	}
	v.log.LogAttrs(parent, slog.LevelWarn, "a certificate is accepted though its revocation can't be checked", slog.Any("error", doubt))
	return doubtful, Unknown, nil
}

// checkChain asks for every certificate of a chain but its last. The error is a
// *revokedError, or says why it can't be told of one of them.
func (l *lists) checkChain(ctx context.Context, chain []*x509.Certificate) error {
	var doubt error
	for depth, c := range chain[:len(chain)-1] {
		revoked, err := l.revoked(ctx, c, chain[depth+1])
		switch {
		case revoked:
			return &revokedError{depth}
		case err != nil && doubt == nil:
			doubt = fmt.Errorf("the certificate at depth %d: %w", depth, err)
		}
	}
	return doubt
}

// revoked asks the lists that a certificate points to, one after the other,
// until one can tell.
func (l *lists) revoked(ctx context.Context, c, issuer *x509.Certificate) (bool, error) {
	points, err := pointsOf(c)
	if err != nil {
		return false, err
	}
	addresses := points.addresses()
	if len(addresses) == 0 {
		return false, errors.New("it names no revocation list that can be fetched: expected an address that begins with http:// or https://")
	}
	var reasons []error
	for _, address := range addresses {
		list, err := l.get(ctx, address, issuer)
		if err == nil {
			err = list.covers(c, points)
		}
		if err == nil {
			return list.has(c), nil
		}
		reasons = append(reasons, fmt.Errorf("revocation list %s: %w", address, err))
	}
	return false, errors.Join(reasons...)
}
