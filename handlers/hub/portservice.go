package hub

import "net/http"

// servePortService answers as the NHS Port Service does, which tells pages at
// which port the hub of the user's own Windows session listens (the wire
// reference, section 2.3). Here that is always this one.
func (h *Hub) servePortService(w http.ResponseWriter, r *http.Request, name string) {
	switch name {
	case "GetPortNumber":
		if !allowMethods(w, r, http.MethodGet) {
			return
		}
		type portData struct {
			PortNumber int `json:"portNumber"`
		}
		writeJSON(w, http.StatusOK, struct {
			PortData portData `json:"portData"`
		}{portData{h.port}})
	case "ConnectPRService":
		if !allowMethods(w, r, http.MethodGet) {
			return
		}
		writeJSON(w, http.StatusOK, struct {
			StatusCode int `json:"statusCode"`
		}{http.StatusOK})
	default:
		h.notFound(w)
	}
}
