package forward

import (
	"encoding/json"
	"html"
	"strconv"
	"strings"
	"time"

	"github.com/roostd/roost/proxy/internal/backend"
	"github.com/roostd/roost/proxy/internal/http1"
)

// page is a generated answer, ready to be sent.
type page struct {
	status      int
	contentType string
	body        string
	raw         []byte // instead of body: what an operator wrote
}

// newPage renders f: HTML for a browser, else problem details (RFC 9457). Where
// policy leaves a failed start bare, it is nothing, for the site's own front to
// show its page.
func newPage(f *failure, forBrowser bool, policy *backend.Policy, requestID string) page {
	a, detailed := look(f.code), policy.DetailedErrors
	if _, start := guideTo(f.code, detailed); start && policy.BareStartFailure {
		return page{status: a.status}
	}
	if f.offline != nil {
		// As the module of IIS does: without a charset, for the page names its own.
		return page{status: a.status, contentType: "text/html", raw: f.offline.Page}
	}
	if forBrowser {
		return page{status: a.status, contentType: "text/html; charset=utf-8", body: htmlPage(a, f, detailed, requestID)}
	}
	return page{status: a.status, contentType: "application/problem+json", body: problem(a, f, detailed, requestID)}
}

func problem(a answer, f *failure, detailed bool, requestID string) string {
	p := struct {
		Type      string   `json:"type"`
		Title     string   `json:"title"`
		Status    int      `json:"status"`
		Detail    string   `json:"detail"`
		Code      string   `json:"code"`
		Reason    string   `json:"reason,omitempty"`
		Output    string   `json:"output,omitempty"`
		Event     string   `json:"event,omitempty"`
		Causes    []string `json:"causes,omitempty"`
		Steps     []string `json:"steps,omitempty"`
		RequestID string   `json:"request_id,omitempty"`
	}{Type: "about:blank", Title: a.title, Status: a.status, Detail: a.text, Code: f.code, RequestID: requestID}
	if g, ok := guideTo(f.code, detailed); ok {
		p.Event, p.Causes, p.Steps = g.event, g.causes, g.steps
	}
	if detailed {
		p.Reason, p.Output = f.reason, f.detail
	}
	b, err := json.Marshal(p)
	if err != nil {
		return "{}"
	}
	return string(b) + "\n"
}

const style = `:root{color-scheme:light dark}
body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.6 system-ui,sans-serif;background:#f6f7f9;color:#1d2430}
main{max-width:44rem;padding:2rem}
h1{font-size:1.5rem;font-weight:600;margin:0 0 .5rem}
h2{font-size:1rem;font-weight:600;margin:1.5rem 0 .25rem}
ul{margin:0;padding-left:1.25rem}
p{margin:.5rem 0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#e9ecf1;padding:1rem;border-radius:.5rem;font-size:.85rem}
small{color:#68707d}
@media(prefers-color-scheme:dark){body{background:#14171c;color:#e4e7ec}pre{background:#20252d}small{color:#98a1af}}`

func htmlPage(a answer, f *failure, detailed bool, requestID string) string {
	var b strings.Builder
	title := strconv.Itoa(a.status) + " " + a.title
	b.WriteString("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + title + "</title>\n<style>" + style + "</style>\n</head>\n<body>\n<main>\n")
	b.WriteString("<h1>" + title + "</h1>\n<p>" + html.EscapeString(a.text) + "</p>\n")
	if detailed && f.reason != "" {
		b.WriteString("<p>" + html.EscapeString(f.reason) + "</p>\n")
	}
	if detailed && f.detail != "" {
		b.WriteString("<pre>" + html.EscapeString(f.detail) + "</pre>\n")
	}
	g, guided := guideTo(f.code, detailed)
	if guided {
		g.html(&b)
	}
	b.WriteString("<p><small>" + html.EscapeString(f.code))
	if guided {
		b.WriteString(" · event " + g.event)
	}
	if requestID != "" {
		b.WriteString(" · " + html.EscapeString(requestID))
	}
	b.WriteString("</small></p>\n</main>\n</body>\n</html>\n")
	return b.String()
}

// size is the length of the body.
func (p page) size() int { return len(p.body) + len(p.raw) }

// append renders the head, and the body unless the request was HEAD or it is raw.
func (p page) append(dst []byte, f *failure, head, keep bool, minor byte) []byte {
	dst = http1.AppendStatus(dst, p.status, []byte(look(f.code).title))
	if p.contentType != "" {
		dst = http1.AppendField(dst, "Content-Type", p.contentType)
	}
	dst = http1.AppendField(dst, "Content-Length", strconv.Itoa(p.size()))
	dst = http1.AppendField(dst, "Cache-Control", "no-store")
	dst = http1.AppendField(dst, "Roost-Error", f.code)
	dst = appendDate(dst)
	if s := f.retryAfter(time.Now()); s > 0 {
		dst = http1.AppendField(dst, "Retry-After", strconv.Itoa(s))
	}
	if p.status == 405 {
		dst = http1.AppendField(dst, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	}
	dst = append(appendPersistence(dst, keep, minor), http1.CRLF...)
	if !head {
		dst = append(dst, p.body...)
	}
	return dst
}

func appendDate(dst []byte) []byte {
	return http1.AppendField(dst, "Date", time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
}

// appendPersistence says what becomes of the connection, where that is not what
// the version means by itself.
func appendPersistence(dst []byte, keep bool, minor byte) []byte {
	switch {
	case !keep:
		dst = append(dst, "Connection: close\r\n"...)
	case minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

// wantsHTML reports whether an Accept field prefers text/html to JSON, as
// browsers that navigate do.
func wantsHTML(accept string) bool {
	var htmlQ, jsonQ float64
	for part := range strings.SplitSeq(accept, ",") {
		media, params, _ := strings.Cut(part, ";")
		q := quality(params)
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "text/html", "application/xhtml+xml":
			htmlQ = max(htmlQ, q)
		case "application/json", "application/problem+json":
			jsonQ = max(jsonQ, q)
		}
	}
	return htmlQ > 0 && htmlQ >= jsonQ
}

func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
