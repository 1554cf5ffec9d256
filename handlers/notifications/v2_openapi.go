package notifications

import (
	"net/http"
	"strconv"

	"github.com/signpost-gateway/signpost/handlers/notifications/openapi"
)

// serveOpenAPI answers GET /openapi.json, which needs no token; root is as in
// v2Call. Pages of other sites may read it, as tools that show descriptions do.
func (a *API) serveOpenAPI(w http.ResponseWriter, _ *http.Request, root string) {
	doc := openapi.Document(root)
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Length", strconv.Itoa(len(doc)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(doc)
}
