package smtp_test

import (
	"fmt"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/delivery/smtp"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

func Example() {
	mails, err := smtp.New(smtp.Config{
		Host:     "relay.example.org",
		Username: "signpost", Password: "from-a-file",
		From:    "noreply@booking.example.org",
		Bounces: "bounces@booking.example.org",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mails.Close()
	_, err = delivery.New(delivery.Config{
		Outbox:    memory.New(),
		Providers: map[string]delivery.Provider{"relay": mails},
		Channels:  map[storage.Channel]string{storage.Email: "relay"},
	})
	fmt.Println(err, mails.Timeout())
	// Output: <nil> 20s
}
