package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed assets templates
var files embed.FS

type asset struct {
	content []byte
	kind    string // media type
	etag    string
}

// loadAssets returns what a page with this hub can ask for, by name.
func loadAssets(hub string, mock bool) (map[string]asset, error) {
	names, err := fs.Glob(files, "assets/*")
	if err != nil {
		return nil, err
	}
	assets := make(map[string]asset, len(names))
	for _, name := range names {
		base := path.Base(name)
		switch {
		case base == moduleMock && !mock,
			base == moduleHubOne && hub != HubOne,
			base == moduleHubNHS && hub != HubNHS:
			continue
		}
		content, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		a := asset{content: content, etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
		// The system's table of media types is the administrator's: it may lack
		// these, or name them so that nosniff stops the browser.
		switch path.Ext(base) {
		case ".js":
			a.kind = "text/javascript; charset=utf-8"
		case ".css":
			a.kind = "text/css; charset=utf-8"
		case ".svg":
			a.kind = "image/svg+xml"
		default:
			return nil, fmt.Errorf("asset %s has no known media type", base)
		}
		assets[base] = a
	}
	return assets, nil
}

// ServeAsset answers GET or HEAD {base}/assets/{name} and reports whether there
// is such an asset; it has written nothing when there isn't. The modules import
// each other by plain names, so they carry no hash in theirs: an ETag and
// no-cache make a new version be seen at once.
func (p *Page) ServeAsset(w http.ResponseWriter, r *http.Request, name string) bool {
	a, found := p.assets[name]
	if !found {
		return false
	}
	header := w.Header()
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Type", a.kind)
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("ETag", a.etag)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	// An image can be opened as a document of its own.
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
	return true
}
