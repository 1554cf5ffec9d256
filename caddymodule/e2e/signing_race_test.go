//go:build linux

package e2e

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Of 64 uploads at once for one token one wins, and its signatures are those
// that are read.
func TestUploadsAtOnce(t *testing.T) {
	const uploads, rounds = 64, 5
	cards := newAuthority(t)
	_, a := plainSigning(t, cards, "")
	for range rounds {
		documents := twoDocuments()
		token := a.downloaded(t, documents, nil).Token
		answers := make([]answer, uploads)
		bodies := make([]string, uploads)
		for i := range bodies {
			// Each with a certificate of its own, so that the winner can be told.
			bodies[i] = cards.issue(t, nil).signAll(t, "RS256", documents).json(t)
		}
		start := make(chan struct{})
		var running sync.WaitGroup
		for i := range uploads {
			running.Go(func() {
				<-start
				answers[i] = a.upload(t, token, bodies[i])
			})
		}
		close(start)
		running.Wait()
		winner := -1
		for i, got := range answers {
			if got.status == http.StatusOK {
				assert.Equal(t, -1, winner, "two uploads won")
				winner = i
				continue
			}
			requireRefused(t, got, http.StatusBadRequest, textAlreadySigned)
		}
		require.GreaterOrEqual(t, winner, 0)
		assert.JSONEq(t, bodies[winner], string(a.result(t, token).body))
	}
}
