package notifyauth

import "fmt"

// Dialect is one of the two kinds of Notify token.
type Dialect uint8

const (
	// Signed tokens carry iss, iat, req and, with a body, pay: they sign the
	// request line and the body. The default.
	Signed Dialect = iota
	// V2 tokens carry iss and iat only.
	V2
)

// ParseDialect reads "signed" or "v2"; the empty text is Signed.
func ParseDialect(text string) (Dialect, error) {
	switch text {
	case "", "signed":
		return Signed, nil
	case "v2":
		return V2, nil
	}
	return Signed, fmt.Errorf("notifyauth: unknown dialect %q: use signed or v2", text)
}

func (d Dialect) String() string {
	if d == V2 {
		return "v2"
	}
	return "signed"
}

// QueryPolicy says what becomes of a query string, which the clients of the
// signed dialect never signed.
type QueryPolicy uint8

const (
	// QueryRefuse refuses every request that has a query. The default.
	QueryRefuse QueryPolicy = iota
	// QuerySigned expects "METHOD path?query" in req when there is a query,
	// with the query's bytes as received.
	QuerySigned
	// QueryUnsigned lets any query pass: it is not protected.
	QueryUnsigned
)

// ParseQueryPolicy reads "refuse", "signed" or "unsigned"; the empty text is
// QueryRefuse.
func ParseQueryPolicy(text string) (QueryPolicy, error) {
	switch text {
	case "", "refuse":
		return QueryRefuse, nil
	case "signed":
		return QuerySigned, nil
	case "unsigned":
		return QueryUnsigned, nil
	}
	return QueryRefuse, fmt.Errorf("notifyauth: unknown query policy %q: use refuse, signed or unsigned", text)
}

func (q QueryPolicy) String() string {
	switch q {
	case QuerySigned:
		return "signed"
	case QueryUnsigned:
		return "unsigned"
	case QueryRefuse:
	}
	return "refuse"
}
