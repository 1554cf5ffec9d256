package simulate

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestRecipient(t *testing.T) {
	for _, c := range []struct {
		channel storage.Channel
		to      string
		want    bool
	}{
		{storage.SMS, "07700900000", true},
		{storage.SMS, "07700900111", true},
		{storage.SMS, "07700900222", true},
		{storage.SMS, "7700900111", true},
		{storage.SMS, "+447700900111", true},
		{storage.SMS, "00447700900111", true},
		{storage.SMS, "+44 (0)7700 900-111", true},
		{storage.SMS, "07700\u00a0900\u200b111", true},
		{storage.SMS, "07700900333", false},
		{storage.SMS, "07700900003", false},
		{storage.SMS, "+17700900111", false},
		{storage.SMS, "+4477009001110", false},
		{storage.SMS, "", false},
		{storage.SMS, "simulate-delivered@notifications.service.gov.uk", false},
		{storage.Email, "simulate-delivered@notifications.service.gov.uk", true},
		{storage.Email, "simulate-delivered-2@notifications.service.gov.uk", true},
		{storage.Email, " Simulate-Delivered-3@Notifications.Service.GOV.UK\n", true},
		{storage.Email, "simulate-delivered-4@notifications.service.gov.uk", false},
		{storage.Email, "simulate-delivered@notifications.service.gov.uk.example.com", false},
		{storage.Email, "temp-fail@simulator.notify", false},
		{storage.Email, "07700900000", false},
	} {
		assert.Equal(t, c.want, Recipient(c.channel, c.to), "%s %q", c.channel, c.to)
	}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		channel storage.Channel
		to      string
		want    storage.Status
	}{
		{storage.SMS, "07700900003", storage.StatusTemporaryFailure},
		{storage.SMS, "+447700900003", storage.StatusTemporaryFailure},
		{storage.SMS, "+44 (0)7700 900 003", storage.StatusTemporaryFailure},
		{storage.SMS, "07700900002", storage.StatusPermanentFailure},
		{storage.SMS, "07700900001", storage.StatusDelivered},
		{storage.SMS, "+12025550104", storage.StatusDelivered},
		{storage.SMS, "temp-fail@simulator.notify", storage.StatusDelivered},
		{storage.Email, "temp-fail@simulator.notify", storage.StatusTemporaryFailure},
		{storage.Email, "Perm-Fail@simulator.notify", storage.StatusPermanentFailure},
		{storage.Email, "al@example.com", storage.StatusDelivered},
		{storage.Email, "07700900003", storage.StatusDelivered},
	} {
		assert.Equal(t, c.want, Outcome(c.channel, c.to), "%s %q", c.channel, c.to)
	}
}
