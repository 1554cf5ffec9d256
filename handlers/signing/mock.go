package signing

import (
	"net/http"
)

// mockAnswer is that of a hub's POST /hub/v1/sign, so that the page goes on
// with it as with a hub's.
type mockAnswer struct {
	Signatures  []signature `json:"signatures"`
	Failed      []signature `json:"failed"`
	Certificate string      `json:"certificate"`
	Chain       []string    `json:"chain"`
}

// mock answers POST /mock/{token}: signatures that say of themselves that they
// are none, for the page that was asked for with mock=true. It changes
// nothing; the page uploads them. Who may call it is who may upload.
func (a *API) mock(w http.ResponseWriter, r *http.Request, token string) (status int, ref *refusal) {
	p, _, ref := a.pending(r, token)
	if ref != nil {
		return 0, ref
	}
	documents, err := p.claims.decoded()
	if err != nil {
		return 0, internal(err)
	}
	made, certificate, err := a.config.Mock.Sign(p.claims.subject, p.claims.algorithm, documents)
	if err != nil {
		return 0, internal(err)
	}
	out := mockAnswer{Signatures: make([]signature, 0, len(made)), Failed: []signature{}, Certificate: certificate, Chain: []string{}}
	for _, s := range made {
		out.Signatures = append(out.Signatures, signature{ID: s.ID, Signature: s.Value})
	}
	writeJSON(w, r, http.StatusOK, out)
	return http.StatusOK, nil
}
