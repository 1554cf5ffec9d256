package notifications

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// pageSize is the number of notifications on a page of a list.
const pageSize = 50

// signedPage is the answer to a list.
type signedPage struct {
	Notifications []signedNotification `json:"notifications"`
	PageSize      int                  `json:"page_size"`
	Total         int64                `json:"total"`
	Links         signedLinks          `json:"links"`
}

// signedLinks are relative to the API's root: prev only when there is an
// earlier page, next and last only when there is a later one.
type signedLinks struct {
	Prev string `json:"prev,omitempty"`
	Next string `json:"next,omitempty"`
	Last string `json:"last,omitempty"`
}

// listing is what a list's query string asks for.
type listing struct {
	page     int64
	statuses []string // as asked for, for the links
	types    []string
}

// signedList answers GET /notifications. Unknown parameters are ignored, as
// they were.
func (a *API) signedList(w http.ResponseWriter, r *http.Request, id notifyauth.Identity, rawQuery string) (status int, result string) {
	l, ref := parseListing(rawQuery)
	if ref != nil {
		return a.refuse(w, r, id, routeList, ref)
	}
	ctx, cancel := withStorageTimeout(r)
	defer cancel()
	page, err := a.config.Store.Notifications(ctx, l.query(id.ServiceID))
	switch {
	case err != nil:
		return a.refuse(w, r, id, routeList, technical(r, err))
	case l.page > 1 && len(page.Notifications) == 0:
		return a.refuse(w, r, id, routeList, notFound(codeNotFound))
	}
	answer := signedPage{
		Notifications: make([]signedNotification, 0, len(page.Notifications)),
		PageSize:      pageSize,
		Total:         page.Total,
		Links:         l.links(page.Total),
	}
	for _, n := range page.Notifications {
		answer.Notifications = append(answer.Notifications, signedObject(n))
	}
	writeJSON(w, http.StatusOK, answer)
	return http.StatusOK, resultOK
}

func parseListing(rawQuery string) (listing, *refusal) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return listing{}, &refusal{status: http.StatusBadRequest, code: codeInvalidQuery, text: "The query string is malformed"}
	}
	l := listing{page: 1, statuses: unique(q["status"]), types: unique(q["template_type"])}
	wrong := faults{}
	if pages, ok := q["page"]; ok {
		n, err := strconv.ParseInt(pages[0], 10, 64)
		switch {
		case err != nil || len(pages) > 1 || pages[0] != strconv.FormatInt(n, 10):
			wrong.add("page", textInteger)
		case n < 1:
			wrong.add("page", textPositive)
		}
		l.page = n
	}
	for _, word := range l.statuses {
		if _, ok := statusWords[word]; !ok {
			wrong["status"] = []string{textChoice}
		}
	}
	for _, word := range l.types {
		if word != string(storage.SMS) && word != string(storage.Email) {
			wrong["template_type"] = []string{textChoice}
		}
	}
	if len(wrong) > 0 {
		return l, &refusal{status: http.StatusBadRequest, code: codeInvalidQuery, fields: wrong}
	}
	return l, nil
}

// unique leaves out repetitions; the lists of words are short, and longer ones
// hold a word that is refused.
func unique(words []string) []string {
	var kept []string
	for _, w := range words {
		if !slices.Contains(kept, w) {
			kept = append(kept, w)
		}
		if len(kept) > len(statusWords) {
			break
		}
	}
	return kept
}

func (l listing) query(serviceID string) storage.Query {
	q := storage.Query{ServiceID: serviceID, Limit: pageSize, Offset: math.MaxInt64}
	if l.page <= math.MaxInt64/pageSize {
		q.Offset = (l.page - 1) * pageSize
	}
	for _, word := range l.statuses {
		for _, s := range statusWords[word] {
			if !slices.Contains(q.Statuses, s) {
				q.Statuses = append(q.Statuses, s)
			}
		}
	}
	for _, word := range l.types {
		q.Channels = append(q.Channels, storage.Channel(word))
	}
	return q
}

func (l listing) links(total int64) signedLinks {
	var links signedLinks
	if l.page > 1 {
		links.Prev = l.url(l.page - 1)
	}
	if last := (total + pageSize - 1) / pageSize; l.page < last {
		links.Next = l.url(l.page + 1)
		links.Last = l.url(last)
	}
	return links
}

// url names a page. The words have passed the check, so they need no escapes.
func (l listing) url(page int64) string {
	var u strings.Builder
	u.WriteString(listPath + "?page=" + strconv.FormatInt(page, 10))
	for _, word := range l.statuses {
		u.WriteString("&status=" + word)
	}
	for _, word := range l.types {
		u.WriteString("&template_type=" + word)
	}
	return u.String()
}
