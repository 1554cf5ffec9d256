// Package message makes the text of a notification: templates with
// ((placeholders)), the tidying of white space, and the alphabet and length of
// text messages. It knows nothing of HTTP or storage, so both dialects of the
// notification API and the tools that manage templates stand on it.
//
// The rules are those of GOV.UK Notify, as section 2.2 of the wire reference
// lists them.
package message
