// Package recipient checks and normalises the addresses that notifications go
// to: phone numbers and email addresses. The texts of its errors are those of
// GOV.UK Notify in March 2016 (section 2.1 of the wire reference) and are meant
// for the sender.
package recipient
