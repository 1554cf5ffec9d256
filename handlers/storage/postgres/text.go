package postgres

// EncodeText returns a string as the tables hold it: PostgreSQL's text can't
// hold NUL and bytes that aren't UTF-8. It is for programs that fill the tables.
func EncodeText(s string) string { return asText(s) }
