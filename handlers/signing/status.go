package signing

import (
	"net/http"
)

// healthCheck is one of /_status.
type healthCheck struct {
	Status string `json:"status"`
}

// status answers GET /_status: {"status", "commitId", "checks"}, with 503 when
// something doesn't work, so that load balancers understand it too. What is
// wrong stands in the log.
func (a *API) status(w http.ResponseWriter, r *http.Request) (status int) {
	const pass, fail = "pass", "error"
	ctx, cancel := withTimeout(r)
	defer cancel()
	out := struct {
		Status   string                 `json:"status"`
		CommitID string                 `json:"commitId"`
		Checks   map[string]healthCheck `json:"checks"`
	}{pass, a.config.Version.CommitID, map[string]healthCheck{}}
	status = http.StatusOK
	if a.config.Health != nil {
		for name, err := range a.config.Health(ctx) {
			check := healthCheck{pass}
			if err != nil {
				check.Status, out.Status, status = fail, fail, http.StatusServiceUnavailable
				a.config.Logger.WarnContext(ctx, "health check failed", "check", name, "error", err)
			}
			out.Checks[name] = check
		}
	}
	writeJSON(w, r, status, out)
	return status
}
