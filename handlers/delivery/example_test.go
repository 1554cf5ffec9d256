package delivery_test

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

// printer is a provider of one's own.
type printer struct{}

func (printer) Send(_ context.Context, m delivery.Message) (delivery.Sent, error) {
	fmt.Println("to", delivery.Mask(m.To)+":", m.Body)
	return delivery.Sent{Delivered: true}, nil
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	store := memory.New()
	if err := store.Open(ctx); err != nil {
		panic(err)
	}
	sent := make(chan delivery.Event, 1)
	d, err := delivery.New(delivery.Config{
		Outbox:    store,
		Providers: map[string]delivery.Provider{"printer": printer{}},
		Channels:  map[storage.Channel]string{storage.SMS: "printer"},
		Observe:   func(e delivery.Event) { sent <- e },
	})
	if err != nil {
		panic(err)
	}
	ran := make(chan error)
	go func() { ran <- d.Run(ctx) }()

	now := time.Now()
	_, err = store.Create(ctx, storage.Creation{Notification: storage.Notification{
		UUID: uuid.Must(uuid.NewV7()), ServiceID: "26785a09-ab16-4eb0-8407-a37497a57506",
		Channel: storage.SMS, To: "+447700900417", Body: "Your appointment is at 10.", Sender: "printer",
		CreatedAt: now, ExpiresAt: now.Add(168 * time.Hour),
	}})
	if err != nil {
		panic(err)
	}
	fmt.Println("printer:", (<-sent).Result)

	stop()
	if err := <-ran; err != nil {
		panic(err)
	}
	grace, end := context.WithTimeout(context.Background(), 10*time.Second)
	defer end()
	if err := d.Wait(grace); err != nil {
		panic(err)
	}
	// Output:
	// to ***417: Your appointment is at 10.
	// printer: delivered
}
