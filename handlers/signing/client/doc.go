// Package client asks a signing API of the NHS Signing Service dialect for
// signatures: it makes and posts the signature request (a JWT signed with
// RS512), waits until the user has signed in the browser, reads the signatures
// and verifies them over the very bytes that were to be signed.
//
//	c, err := client.New(client.Config{BaseURL: base, ClientID: id, Key: key, KeyID: kid})
//	p, err := c.Request(ctx, client.Request{Subject: user, Documents: documents})
//	// send the user's browser to p.RedirectURI
//	r, err := c.Await(ctx, p, client.AwaitOptions{})
//	e, err := r.Verify(ctx, client.Verification{Documents: documents, Roots: authorities})
//
// The browser's return to the client's callback proves nothing: anybody can
// send a browser there. It only says that it is worth asking now, with
// [Client.Fetch]; [Callback] is such a page for programs without a site of
// their own.
package client
