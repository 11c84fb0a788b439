package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzRequest compares with net/http on the same bytes. What we accept,
// net/http must accept with the same method, host, framing and body;
// otherwise somebody behind us may read another request than we did. The
// other way round we are stricter, on purpose: bare LF, obs-fold, repeated
// equal Content-Length, CL with TE, TE on 1.0, a target with non-ASCII bytes
// or a fragment, %00 or a bad escape, a path above the root, chunk sizes with
// trailing space, more fields or bytes than the limits.
//
// net/http refuses, and we accept: nothing but what is listed in
// stricterThere.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		browserHead,
		"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n",
		"GET http://b:1/../x HTTP/1.1\r\nHost: a\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\n\r\n",
		"GET /%2e%2e/ HTTP/1.1\r\nHost: [::1]\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var r Request
		r.Reset()
		n, err := r.Parse(bytes.Clone(in))
		checkPieces(t, in, n, err)
		if err != nil || n == 0 || r.Method == MethodConnect {
			return
		}
		if len(r.Path) == 0 || r.Path[0] != '/' && r.Path[0] != '*' || bytes.Contains(r.Path, []byte("/../")) || bytes.HasSuffix(r.Path, []byte("/..")) {
			t.Fatalf("path %q", r.Path)
		}
		theirs, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(bytes.TrimLeft(in, "\r\n")), 1<<17))
		if err != nil {
			if !stricterThere(err, &r) {
				t.Fatalf("net/http: %v; we: %+v", err, r)
			}
			return
		}
		compare(t, &r, theirs, in[n:])
	})
}

// stricterThere lists what net/http refuses and RFC 9112 does not: hosts and
// query strings that its URL type cannot hold.
func stricterThere(err error, r *Request) bool {
	msg := err.Error()
	return strings.Contains(msg, "parse ") || // url.Parse: pct-encoded hosts, ports
		strings.Contains(msg, "malformed Host header") ||
		strings.Contains(msg, "invalid URL")
}

func compare(t *testing.T, r *Request, theirs *http.Request, rest []byte) {
	if theirs.Method != string(r.MethodName) {
		t.Fatalf("method %q, net/http %q", r.MethodName, theirs.Method)
	}
	if theirs.Host != string(r.Host) {
		t.Fatalf("host %q, net/http %q", r.Host, theirs.Host)
	}
	chunked := len(theirs.TransferEncoding) > 0
	if chunked != r.Chunked || !chunked && theirs.ContentLength != max(r.Length, 0) {
		t.Fatalf("chunked %v length %d, net/http %v %d", r.Chunked, r.Length, chunked, theirs.ContentLength)
	}
	var b Body
	b.RequestBody(r)
	data, _, err := b.Feed(bytes.Clone(rest))
	if err != nil || !b.Done() {
		return
	}
	body, err := io.ReadAll(theirs.Body)
	if err != nil && b.Trailers.Len() == 0 {
		t.Fatalf("body: net/http %v, we %q", err, data)
	}
	if err == nil && !bytes.Equal(body, data) {
		t.Fatalf("body %q, net/http %q", data, body)
	}
}

// checkPieces parses byte by byte: the result must be the same.
func checkPieces(t *testing.T, in []byte, wantN int, wantErr error) {
	if len(in) > 4096 {
		return
	}
	var r Request
	r.Reset()
	for i := range len(in) {
		n, err := r.Parse(bytes.Clone(in[:i+1]))
		if err != nil || n > 0 {
			if n != wantN || err != wantErr {
				t.Fatalf("after %d bytes %d, %v; in one %d, %v", i+1, n, err, wantN, wantErr)
			}
			return
		}
	}
	if wantN != 0 || wantErr != nil {
		t.Fatalf("in one %d, %v; in pieces nothing", wantN, wantErr)
	}
}

// FuzzResponse: what we accept, net/http must read in the same way.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 204\r\nConnection: close\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 200 OK\r\n\r\nuntil the end"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var r Response
		r.Reset()
		n, err := r.Parse(bytes.Clone(in))
		if err != nil || n == 0 {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(in), 1<<17), &http.Request{Method: http.MethodGet})
		if err != nil {
			t.Fatalf("net/http: %v; we: %+v", err, r)
		}
		if theirs.StatusCode != r.Status {
			t.Fatalf("status %d, net/http %d", r.Status, theirs.StatusCode)
		}
		var b Body
		b.ResponseBody(&r, MethodGet)
		data, _, err := b.Feed(bytes.Clone(in[n:]))
		if err != nil || !b.Done() && b.EOF() != nil {
			return
		}
		body, err := io.ReadAll(theirs.Body)
		if r.Status >= 200 && err == nil && !bytes.Equal(body, data) {
			t.Fatalf("body %q, net/http %q", data, body)
		}
	})
}

// FuzzChunked: the result does not depend on how the bytes arrive.
func FuzzChunked(f *testing.F) {
	f.Add("3\r\nabc\r\n0\r\n\r\n", 2)
	f.Add("3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n", 1)
	f.Fuzz(func(t *testing.T, in string, piece int) {
		if piece < 1 || len(in) == 0 || len(in) > 4096 {
			return
		}
		data1, _, err1 := decode(in, len(in))
		data2, _, err2 := decode(in, piece)
		if data1 != data2 || err1 != err2 {
			t.Fatalf("in one %q, %v; in pieces of %d %q, %v", data1, err1, piece, data2, err2)
		}
	})
}
