//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// wire is one HTTP/1.1 connection that hides nothing: net/http's own client
// would send some requests again by itself.
type wire struct {
	addr  string
	fresh bool // a connection for each request
	conn  net.Conn
	in    *bufio.Reader
}

// errTruncated says that an answer began and didn't end.
var errTruncated = errors.New("the answer is truncated")

// post sends one request and reads its answer. An error other than errTruncated
// means that the connection was lost before the answer began.
func (w *wire) post(path, authorization string, body []byte) (answer, error) {
	if w.fresh {
		w.close()
	}
	if w.conn == nil {
		conn, err := net.DialTimeout("tcp", w.addr, patience)
		if err != nil {
			return answer{}, err
		}
		w.conn, w.in = conn, bufio.NewReader(conn)
	}
	a, err := w.exchange(path, authorization, body)
	if err != nil || a.header.Get("Connection") == "close" {
		w.close()
	}
	return a, err
}

func (w *wire) exchange(path, authorization string, body []byte) (answer, error) {
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, w.addr, authorization, len(body), body)
	if _, err := w.conn.Write(request); err != nil {
		return answer{}, err
	}
	if _, err := w.in.Peek(1); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errTruncated, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errTruncated, err)
	}
	// http.ReadResponse takes the header out of the map.
	if resp.Close {
		resp.Header.Set("Connection", "close")
	}
	return answer{resp.StatusCode, resp.Header, b}, nil
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close() // it may be broken
		w.conn = nil
	}
}
