package notifications_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifications"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

// oneTemplate is a Directory with one template of one service.
type oneTemplate storage.Template

func (t oneTemplate) Template(_ context.Context, serviceID, id string) (storage.Template, error) {
	if t.ServiceID != serviceID || t.ID != id {
		return storage.Template{}, storage.ErrNotFound
	}
	return storage.Template(t), nil
}

func (t oneTemplate) TemplateVersion(ctx context.Context, serviceID, id string, _ int) (storage.Template, error) {
	return t.Template(ctx, serviceID, id)
}

func (t oneTemplate) Templates(context.Context, string) ([]storage.Template, error) {
	return []storage.Template{storage.Template(t)}, nil
}

func (oneTemplate) Settings(context.Context, string) (storage.ServiceSettings, error) {
	return storage.ServiceSettings{}, nil
}

// The notification API in a plain net/http server. Without a delivery
// dispatcher on the same store, notifications stay "created".
func Example() {
	const (
		service = "26785a09-ab16-4eb0-8407-a37497a57506"
		secret  = "3d844edf-8d35-48ac-975b-e847b4f122b0" // of the public documentation; never use it
	)
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	store := memory.New()
	must(store.Open(context.Background()))
	defer store.Close()
	api, err := notifications.New(notifications.Config{
		Store:     store,
		Directory: oneTemplate{ServiceID: service, ID: "1", Version: 1, Channel: storage.SMS, Body: "Your code is ((code))"},
		Senders:   map[storage.Channel]string{storage.SMS: "log"},
	})
	must(err)
	key, err := notifyauth.NewKey("live", secret)
	must(err)
	verifier, err := notifyauth.New(notifyauth.Config{
		Services:  notifyauth.StaticServices(&notifyauth.Service{ID: service, Keys: []*notifyauth.Key{key}}),
		ServeRoot: true,
		Query:     notifyauth.QueryUnsigned,
	})
	must(err)
	server := httptest.NewServer(api.Handler(verifier, verifier, nil))
	defer server.Close()

	body := `{"to": "07700 900111", "template": 1, "personalisation": {"code": 4711}}`
	token, err := notifyauth.Mint(notifyauth.MintRequest{
		Service: service, Secret: secret, Method: "POST", Path: "/notifications/sms", Body: []byte(body),
	})
	must(err)
	req, err := http.NewRequest("POST", server.URL+"/notifications/sms", strings.NewReader(body))
	must(err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	must(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(err)
	before, _, _ := strings.Cut(string(answer), `,"createdAt"`)
	fmt.Println(resp.StatusCode, before)
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 201 {"notification":{"id":1,"to":"+447700900111","message":"Your code is 4711"
}
