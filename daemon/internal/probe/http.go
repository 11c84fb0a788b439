package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
)

// maxHead bounds the head of an answer to a probe.
const maxHead = 64 << 10

// httpCheck asks an instance by HTTP.
type httpCheck struct {
	*target
	accepted []app.StatusRange
	client   *http.Client
}

func newHTTPCheck(t *target) *httpCheck {
	c := &httpCheck{target: t, client: t.client()}
	// The spec was validated; without a list nothing passes, which is said.
	c.accepted, _ = app.ParseStatuses(t.l.Spec.Ready.HTTP.Status)
	return c
}

// client asks the instance, whatever host a request names.
func (t *target) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				network, address := t.network()
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHead,
		},
		// A redirect is an answer: what it leads to is not asked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c *httpCheck) ask(ctx context.Context) error {
	check := c.l.Spec.Ready.HTTP
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host(c.l.Spec)+check.Path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "roost-probe")
	if overTLS(c.l.Spec) {
		req.Header.Set("X-Forwarded-Proto", "https")
	}
	for name, value := range check.Headers {
		req.Header.Set(name, value)
		if strings.EqualFold(name, "Host") {
			req.Host = value
		}
	}
	pair(req.Header, c.l)
	res, err := c.client.Do(req)
	if err != nil {
		return c.quoted(err)
	}
	_ = res.Body.Close()
	if !slices.ContainsFunc(c.accepted, func(r app.StatusRange) bool { return r.Low <= res.StatusCode && res.StatusCode <= r.High }) {
		return c.quoted(fmt.Errorf("GET %s is answered %s, not %s", check.Path, res.Status, check.Status))
	}
	return nil
}

// host is the one that the probe names: its own, else that of the first route
// that has one, for an app that answers to its names only.
func host(s app.Spec) string {
	if s.Ready.HTTP.Host != "" {
		return s.Ready.HTTP.Host
	}
	for _, r := range s.Routes {
		if r.Host != "" && !strings.HasPrefix(r.Host, "*") {
			return r.Host
		}
	}
	return "localhost"
}

// overTLS reports whether the app gets no requests in clear text, or next to none,
// by its first route. Such an app may send a probe that comes without TLS elsewhere.
func overTLS(s app.Spec) bool { return len(s.Routes) > 0 && s.Routes[0].HTTPS != "" }
