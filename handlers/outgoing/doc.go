// Package outgoing makes HTTP clients for calls to addresses that an operator
// configures, or that others name, such that they reach nothing but what was
// meant: no private, loopback or link-local address unless it was named, no
// redirects, no proxy from the environment, no plain http over a network unless
// the caller says so.
//
// Addresses are checked at dial time, after resolution, on the very address
// that is connected to: a name that resolves to something else at the second
// look (DNS rebinding) gains nothing.
package outgoing
