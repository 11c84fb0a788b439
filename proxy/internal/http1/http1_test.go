package http1

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func parse(t testing.TB, s string) (*Request, int, error) {
	t.Helper()
	r := new(Request)
	r.Reset()
	n, err := r.Parse([]byte(s))
	return r, n, err
}

func TestRequest_Parse(t *testing.T) {
	r, n, err := parse(t, "\r\nPOST /a/./b?x=%zz HTTP/1.1\r\nhOST:  Example.com:8080 \r\nContent-Length: 12\r\nConnection: close, X-Y\r\n"+
		"Expect: 100-Continue\r\nX-Y: 1\r\nEmpty:\r\n\r\nbody")
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	if r.Method != MethodPost || string(r.MethodName) != "POST" || string(r.Path) != "/a/b" || string(r.Query) != "?x=%zz" ||
		string(r.Host) != "Example.com:8080" || string(r.Hostname) != "Example.com" || r.Minor != 1 || r.Length != 12 ||
		r.KeepAlive() || !r.Expect100 || r.Chunked || r.Len() != 6 {
		t.Errorf("parsed %+v", r)
	}
	if got := string(r.AppendExcept(nil, SetOf(Host, ContentLength))); got != "Connection: close, X-Y\r\nExpect: 100-Continue\r\nEmpty:\r\n" {
		t.Errorf("kept %q", got)
	}
}

func TestRequest_Targets(t *testing.T) {
	tests := []struct{ line, host, path, query string }{
		{"GET / HTTP/1.1", "h", "/", ""},
		{"GET /? HTTP/1.1", "h", "/", "?"},
		{"GET //a//b HTTP/1.1", "h", "//a//b", ""},
		{"GET /a%2Fb%2e%2e HTTP/1.1", "h", "/a%2Fb%2e%2e", ""},
		{"GET /a/%2E%2e/b/. HTTP/1.1", "h", "/b/", ""},
		{"GET /a/... HTTP/1.1", "h", "/a/...", ""},
		{"GET HTTP://B:81 HTTP/1.1", "B:81", "/", ""},
		{"GET http://b?x HTTP/1.1", "b", "/", "?x"},
		{"GET https://b/c/../d HTTP/1.1", "b", "/d", ""},
		{"GET http://[::1]:80/ HTTP/1.1", "[::1]:80", "/", ""},
		{"OPTIONS * HTTP/1.1", "h", "*", ""},
		{"OPTIONS http://b HTTP/1.1", "b", "*", ""},
		{"PROPFIND /x HTTP/1.1", "h", "/x", ""},
	}
	for _, tt := range tests {
		r, _, err := parse(t, tt.line+"\r\nHost: h\r\n\r\n")
		if err != nil || string(r.Host) != tt.host || string(r.Path) != tt.path || string(r.Query) != tt.query {
			t.Errorf("%s: %v, %q %q %q", tt.line, err, r.Host, r.Path, r.Query)
		}
	}
}

func TestRequest_Refused(t *testing.T) {
	tests := []struct {
		head string
		want error
	}{
		{"GET  / HTTP/1.1\r\n", ErrTarget}, // two spaces
		{"GET / HTTP/1.1 \r\n", ErrRequestLine},
		{"GET /\r\n", ErrRequestLine},
		{"GET /a b HTTP/1.1\r\n", ErrTarget},
		{"G(T / HTTP/1.1\r\n", ErrRequestLine},
		{"GET / HTTP/2.0\r\n", ErrVersion},
		{"GET / HTTP/1.2\r\n", ErrVersion},
		{"GET / http/1.1\r\n", ErrRequestLine},
		{"GET a HTTP/1.1\r\n", ErrTarget},
		{"GET * HTTP/1.1\r\n", ErrTarget},
		{"GET ftp://h/ HTTP/1.1\r\n", ErrTarget},
		{"GET http:///a HTTP/1.1\r\nHost: h\r\n", ErrTarget},
		{"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n", ErrTarget},
		{"GET /a#b HTTP/1.1\r\n", ErrTarget},
		{"GET /\xc3\xa4 HTTP/1.1\r\n", ErrTarget},
		{"GET /%0g HTTP/1.1\r\nHost: h\r\n", ErrEscape},
		{"GET /% HTTP/1.1\r\nHost: h\r\n", ErrEscape},
		{"GET /%00 HTTP/1.1\r\nHost: h\r\n", ErrEscape},
		{"GET /.. HTTP/1.1\r\nHost: h\r\n", ErrAboveRoot},
		{"GET /a/.%2e/../b HTTP/1.1\r\nHost: h\r\n", ErrAboveRoot},
		{"GET / HTTP/1.1\nHost: h\r\n", ErrBareLF},
		{"GET / HTTP/1.1\r\nHost: h\n", ErrBareLF},
		{"\nGET / HTTP/1.1\r\n", ErrBareLF},
		{" GET / HTTP/1.1\r\n", ErrRequestLine},
		{"GET / HTTP/1.1\r\n Host: h\r\n", ErrObsFold},
		{"GET / HTTP/1.1\r\nHost: h\r\n\tx\r\n", ErrObsFold},
		{"GET / HTTP/1.1\r\nHost : h\r\n", ErrFieldName},
		{"GET / HTTP/1.1\r\n: h\r\n", ErrFieldName},
		{"GET / HTTP/1.1\r\nHost\r\n", ErrFieldName},
		{"GET / HTTP/1.1\r\nA: 12345678\x01\r\n", ErrFieldValue},
		{"GET / HTTP/1.1\r\nA: \x7f\r\n", ErrFieldValue},
		{"GET / HTTP/1.1\r\nA: 1\rB: 2\r\n", ErrFieldValue},
		{"GET / HTTP/1.1\r\n", ErrHostMissing},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", ErrHostTwice},
		{"GET / HTTP/1.1\r\nHost: a b\r\n", ErrHost},
		{"GET / HTTP/1.1\r\nHost: a,b/\r\n", ErrHost},
		{"GET / HTTP/1.1\r\nHost: a:b\r\n", ErrHost},
		{"GET / HTTP/1.1\r\nHost: [::1\r\n", ErrHost},
		{"GET / HTTP/1.1\r\nHost: a:80:80\r\n", ErrHost},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n", ErrLengthTwice},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n", ErrLength},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n", ErrLength},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n", ErrLength},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999999999\r\n", ErrLength},
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n", ErrCoding},
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n", ErrCoding},
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;x\r\n", ErrCoding},
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n", ErrCoding},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n", ErrCodingAndLen},
		{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", ErrCodingOn10},
		{"GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", MaxFields+1), ErrFields},
		{"GET / HTTP/1.1\r\nConnection: " + strings.Repeat("a,", maxOptions+1) + "\r\n", ErrOptions},
		{"GET / HTTP/1.1\r\n" + strings.Repeat("Connection:\r\n", maxConnections+1), ErrOptions},
		{"GET / HTTP/1.1\r\nA: " + strings.Repeat("x", MaxHead), ErrHeadTooLarge},
	}
	for _, tt := range tests {
		if _, _, err := parse(t, tt.head+"\r\n"); !errors.Is(err, tt.want) {
			t.Errorf("%.60q: %v, want %v", tt.head, err, tt.want)
		}
	}
}

// TestRequest_OtherProtocol: no line end is waited for.
func TestRequest_OtherProtocol(t *testing.T) {
	for _, start := range []string{"\x16", "\x16\x03\x01\x02\x00\x01", "\r\n\x00"} {
		var r Request
		r.Reset()
		if _, err := r.Parse([]byte(start)); !errors.Is(err, ErrRequestLine) {
			t.Errorf("%q: %v", start, err)
		}
	}
}

func TestFields_IDs(t *testing.T) {
	for name, want := range map[string]ID{
		"Host": Host, "TE": TE, "x-forwarded-FOR": XForwardedFor, "X_Forwarded_For": Disguised, "X-Forwarded_Port": Disguised,
		"Content_Length": Disguised, "Transfer_Encoding": Disguised, "Roost-Token": Roost, "ROOST_ANYTHING": Roost, "Roost": Other,
		"Roosts": Other, "MS-ASPNETCORE-TOKEN": Module, "ms_aspnetcore_x": Module, "Ms-AspNetCore": Module, "MS-ASPNETCOREX": Module, "MS-ASPNET": Other, "X-Original-For": XOriginal, "x_original_proto": XOriginal, "X-Originally": Other, "X-Real-Ip": XRealIP, "Accept": Accept,
		"Accept-Encoding": Other, "Cookie": Other, "Roost-Err": Roost, "Roost-Errorr": Roost, "Roost-Request-Idx": Roost,
		"AUTHORIZATION": Authorization, "Cache-Control": Other, "Roost-Abcdefg": Roost, "www-Authenticate": WWWAuthenticate, "WWW_Authenticate": Other,
		"X-Forwarded-Ssl": XForwarded, "x-forwarded-SCHEME": XForwarded, "X-Forwarded-By": XForwarded, "X-Forwarded-Client-Cert": XForwarded,
		"X-Forwarded_Ssl": Disguised, "x_forwarded_user": Disguised, "X-Forwarded-Client_Cert": Disguised, "X-Forwarded": Other, "X-Forwarder": Other,
		"Front-End-Https": XForwarded, "front_end_https": Disguised, "X-Url-Scheme": XForwarded, "X-Url-Schema": Other,
	} {
		if got := fieldID([]byte(name)); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestResponse_Parse(t *testing.T) {
	r := new(Response)
	r.Reset()
	n, err := r.Parse([]byte("HTTP/1.0 404\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc"))
	if err != nil || n == 0 || r.Status != 404 || len(r.Reason) != 0 || r.Length != 3 || !r.KeepAlive() {
		t.Errorf("%d, %v: %+v", n, err, r)
	}
	for _, head := range []string{
		"HTTP/1.1 99 x\r\n", "HTTP/1.1 2000\r\n", "HTTP/2 200 OK\r\n", "ICY 200 OK\r\n", "HTTP/1.1 20a x\r\n", "HTTP/1.1 200 O\x00K\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n",
	} {
		r.Reset()
		if n, err := r.Parse([]byte(head + "\r\n")); err == nil {
			t.Errorf("%q accepted: %d", head, n)
		}
	}
}

func decode(s string, piece int) (data string, rest int, err error) {
	var b Body
	b.reset(ByChunks, 0)
	p := []byte(s)
	var out []byte
	r, w := 0, 0
	for w < len(p) && !b.Done() {
		w = min(w+piece, len(p))
		d, used, err := b.Feed(p[r:w])
		out = append(out, d...)
		if err != nil {
			return string(out), 0, err
		}
		r += used
	}
	if !b.Done() {
		return string(out), 0, b.EOF()
	}
	return string(out), len(p) - r, nil
}

func TestChunked(t *testing.T) {
	tests := []struct {
		in, want string
		err      error
	}{
		{"3\r\nabc\r\n0\r\n\r\nrest", "abc", nil},
		{"03\r\nabc\r\n00\r\nX: 1\r\n\r\n", "abc", nil},
		{"A;x=\"y\"\r\n0123456789\r\n0;z\r\n\r\n", "0123456789", nil},
		{"3 ;x\r\nabc\r\n0\r\n\r\n", "abc", nil},
		{"3\nabc\r\n0\r\n\r\n", "", ErrChunkSize},
		{"3\r\nabc\n0\r\n\r\n", "abc", ErrChunkEnd},
		{"3\r\nabcd\r\n0\r\n\r\n", "abc", ErrChunkEnd},
		{"0x3\r\nabc", "", ErrChunkSize},
		{"\r\n", "", ErrChunkSize},
		{"-1\r\n", "", ErrChunkSize},
		{"3 \r\nabc", "", ErrChunkExt},
		{"3;a\nb\r\nabc", "", ErrChunkExt},
		{"00000000000000003\r\nabc", "", ErrChunkSize},
		{"3;" + strings.Repeat("x", maxExtension) + "\r\nabc", "", ErrChunkExt},
		{"0\r\nA : b\r\n\r\n", "", ErrFieldName},
		{"0\r\nA: b\n\r\n", "", ErrBareLF},
		{"0\r\nA: " + strings.Repeat("x", MaxTrailer) + "\r\n\r\n", "", ErrTrailer},
		{"3\r\nab", "ab", ErrTruncatedBody},
	}
	for _, tt := range tests {
		for _, piece := range []int{1, 2, 5, len(tt.in)} {
			got, rest, err := decode(tt.in, piece)
			if got != tt.want || !errors.Is(err, tt.err) && err != tt.err {
				t.Errorf("%.40q in pieces of %d: %q, %v, want %q, %v", tt.in, piece, got, err, tt.want, tt.err)
			}
			if err == nil && piece == len(tt.in) && rest != len("rest")*strings.Count(tt.in, "rest") {
				t.Errorf("%q: %d bytes left", tt.in, rest)
			}
		}
	}
}

func TestAppendChunkSize(t *testing.T) {
	for n, want := range map[int]string{1: "1\r\n", 15: "f\r\n", 16: "10\r\n", 0xabcdef: "abcdef\r\n"} {
		if got := string(AppendChunkSize(nil, n)); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

func TestRequest_ParsesInPieces(t *testing.T) {
	head := []byte(browserHead)
	whole, n, err := parse(t, browserHead)
	if err != nil || n != len(head) {
		t.Fatal(n, err)
	}
	var r Request
	r.Reset()
	for i := range head {
		// A growing buffer may move.
		n, err := r.Parse(slices.Clone(head[:i+1]))
		if err != nil || n != 0 && i+1 != len(head) {
			t.Fatalf("after %d bytes: %d, %v", i+1, n, err)
		}
	}
	if string(r.Path) != string(whole.Path) || r.Len() != whole.Len() || string(r.AppendExcept(nil, SetOf())) != string(whole.AppendExcept(nil, SetOf())) {
		t.Errorf("in pieces %+v, in one %+v", r, whole)
	}
}

const browserHead = "GET /a/page?id=17&x=y HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"120\", \"Not A Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"

func TestRequest_ParseAllocatesNothing(t *testing.T) {
	var r Request
	b := []byte(browserHead)
	r.Reset()
	r.Parse(b)
	if n := testing.AllocsPerRun(100, func() { r.Reset(); r.Parse(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParseRequest(b *testing.B) {
	for name, head := range map[string]string{"wrk": "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", "browser": browserHead} {
		b.Run(name, func(b *testing.B) {
			var r Request
			p := []byte(head)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				r.Reset()
				r.Parse(p)
			}
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	var r Response
	p := []byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 22:14:46 GMT\r\nContent-Type: application/octet-stream\r\n" +
		"Content-Length: 1024\r\nLast-Modified: Mon, 23 Nov 2026 22:14:46 GMT\r\nConnection: keep-alive\r\nETag: \"x\"\r\nAccept-Ranges: bytes\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		r.Parse(p)
	}
}

// BenchmarkAppendExcept_Worst is the head that costs most for its size: many
// names to compare with many options.
func BenchmarkAppendExcept_Worst(b *testing.B) {
	head := []byte("GET / HTTP/1.1\r\nHost: h\r\nConnection: " + strings.Repeat("x,", maxOptions) + "\r\n" +
		strings.Repeat("A: b\r\n", MaxFields-2) + "\r\n")
	var r Request
	drop := SetOf(Host)
	var out []byte
	for b.Loop() {
		r.Reset()
		if n, err := r.Parse(head); n == 0 || err != nil {
			b.Fatal(n, err)
		}
		out = r.AppendExcept(out[:0], drop)
	}
}
