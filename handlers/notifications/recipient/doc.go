// Package recipient checks and normalises the addresses that notifications go
// to: phone numbers and email addresses. Its errors are meant for the sender and
// have the texts of GOV.UK Notify: those of March 2016 (section 2.1 of the wire
// reference) where Normalise reads a phone number, those of today's v2 dialect
// (section 2.2) where Parse does.
package recipient
