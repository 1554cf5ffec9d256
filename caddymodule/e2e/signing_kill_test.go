//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// signatory uploads signatures, again and again, until the server dies.
type signatory struct {
	app    *application
	jwt    string
	upload string

	requested, downloaded, signed map[string]bool // tokens by what was answered 200
	unsure                        map[string]bool // whose last answer never came
	err                           error
}

// run returns when the connection breaks.
func (s *signatory) run() {
	for {
		resp, err := s.app.try(http.MethodPost, "/signaturerequest", s.jwt, "Content-Type", "text/plain")
		if err != nil {
			return // nobody knows its token
		}
		var out asked
		if err := json.Unmarshal(resp.body, &out); err != nil || resp.status != http.StatusOK {
			s.err = fmt.Errorf("POST: %d %s", resp.status, resp.body)
			return
		}
		s.requested[out.Token] = true
		for _, step := range []struct {
			method, path, body string
			done               map[string]bool
		}{
			{http.MethodGet, "/signaturerequest/", "", s.downloaded},
			{http.MethodPost, "/signatureresponse/", s.upload, s.signed},
		} {
			s.unsure[out.Token] = true
			resp, err := s.app.try(step.method, step.path+out.Token, step.body, "Content-Type", "application/json")
			if err != nil {
				return
			}
			if resp.status != http.StatusOK {
				s.err = fmt.Errorf("%s %s: %d %s", step.method, step.path, resp.status, resp.body)
				return
			}
			step.done[out.Token] = true
			delete(s.unsure, out.Token)
		}
	}
}

// check asks for every request after a restart.
func (s *signatory) check(t testing.TB) (lost int) {
	t.Helper()
	for token := range s.requested {
		resp := s.app.result(t, token)
		switch {
		case s.signed[token]:
			if !assert.Equal(t, http.StatusOK, resp.status, "the upload was answered 200: %s", resp.body) {
				lost++
				continue
			}
			assert.JSONEq(t, s.upload, string(resp.body))
		case s.unsure[token]:
			// Done or not, but nothing in between.
			assert.Contains(t, []int{http.StatusOK, http.StatusBadRequest, http.StatusNotFound}, resp.status)
			assert.NotContains(t, string(resp.body), textUnknownToken)
		case s.downloaded[token]:
			requireRefused(t, resp, http.StatusNotFound, textPending)
		default:
			requireRefused(t, resp, http.StatusBadRequest, "has not been downloaded yet")
		}
	}
	return lost
}

// After kill -9 in the midst of uploads every signature that was answered 200
// is there, byte for byte, and a request is no less far than was answered.
func TestSigningKill(t *testing.T) {
	const clients = 8
	kills := setting(t, "SIGNPOST_DRILL_KILLS", 10, 50)
	cards := newAuthority(t)
	s, a := newServer(t), plainApplication(t)
	s.write(t, "cards.pem", cards.pem())
	// One JWT for all of a round, which strict would refuse: making one takes
	// longer than all the rest.
	caddyfile := plainSigningConfig(t, a, "trust_pool file cards.pem\nprofile documented")
	documents := twoDocuments()
	card := cards.issue(t, nil)
	requested, signed, unsure, lost := 0, 0, 0, 0
	began := time.Now()
	var before []*signatory
	for range kills {
		s.start(t, caddyfile)
		for _, earlier := range before {
			lost += earlier.check(t)
		}
		before = before[:0]
		jwt := a.mint(t, a.claims(documents, nil))
		var running sync.WaitGroup
		for range clients {
			one := &signatory{
				app: a, jwt: jwt, upload: card.signAll(t, "RS256", documents).json(t), unsure: map[string]bool{},
				requested: map[string]bool{}, downloaded: map[string]bool{}, signed: map[string]bool{},
			}
			before = append(before, one)
			running.Go(one.run)
		}
		// The moment of the kill is what this drill varies.
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond)
		s.kill()
		running.Wait()
		for _, one := range before {
			require.NoError(t, one.err)
			requested += len(one.requested)
			signed += len(one.signed)
			unsure += len(one.unsure)
		}
	}
	s.start(t, caddyfile)
	for _, one := range before {
		lost += one.check(t)
	}
	assert.Positive(t, signed)
	s.stop(t)
	requireIntact(t, filepath.Join(s.dir, "signpost.db"))
	t.Logf("%d kills in %s: %d requests, %d uploads answered 200, %d of them lost; %d answers never came",
		kills, time.Since(began).Round(time.Second), requested, signed, lost, unsure)
}
