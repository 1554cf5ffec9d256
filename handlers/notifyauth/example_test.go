package notifyauth_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// A service behind request signing, and a client of it, with net/http alone.
func Example() {
	const (
		service = "26785a09-ab16-4eb0-8407-a37497a57506"
		secret  = "3d844edf-8d35-48ac-975b-e847b4f122b0"
	)
	key, err := notifyauth.NewKey("live", secret)
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := notifyauth.New(notifyauth.Config{
		Services: notifyauth.StaticServices(&notifyauth.Service{ID: service, Name: "Booking reminders", Keys: []*notifyauth.Key{key}}),
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := notifyauth.FromContext(r.Context())
		fmt.Fprintf(w, "hello, %s", id.ServiceName)
	})))
	defer server.Close()

	body := `{"to": "+441234123123", "template": 1}`
	token, err := notifyauth.Mint(notifyauth.MintRequest{
		Service: service, Secret: secret, Method: http.MethodPost, Path: "/notifications/sms", Body: []byte(body),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, path := range []string{"/notifications/sms", "/notifications/email"} {
		request, err := http.NewRequest(http.MethodPost, server.URL+path, strings.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := server.Client().Do(request)
		if err != nil {
			log.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		fmt.Println(answer.StatusCode, string(text))
	}
	// Output:
	// 200 hello, Booking reminders
	// 403 {"error":"Invalid token: request"}
}
