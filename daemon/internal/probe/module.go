package probe

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/roostd/roost/daemon/internal/app"
)

// The headers that pair a request with an instance.
const (
	tokenHeader       = "Roost-Token"
	moduleTokenHeader = "MS-ASPNETCORE-TOKEN"
)

// pair makes a request one of ours to the instance.
func pair(h http.Header, l app.Launch) {
	h.Set(tokenHeader, l.Token)
	if l.Spec.Preset == app.PresetASPNETCore {
		h.Set(moduleTokenHeader, l.Token)
	}
}

// RequestShutdown asks an instance that was ready at address to end by itself, as
// the ASP.NET Core Module does, and returns the status of the answer: 202 is that
// of the middleware in an app, which then finishes what is open and ends.
func (r *Prober) RequestShutdown(ctx context.Context, p app.Process, l app.Launch, address string) (status int, err error) {
	t := r.newTarget(p, l)
	t.address = address
	// The token is for the instance only, whoever else may have its port by now.
	if err := t.stillListens(ctx); err != nil {
		return 0, err
	}
	// The middleware looks for it below the path base. An app that answers to its
	// own names only gets one of those.
	to := url.URL{Scheme: "http", Host: host(l.Spec), Path: l.PathBase + "/iisintegration"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "roost")
	req.Header.Set("MS-ASPNETCORE-EVENT", "shutdown")
	pair(req.Header, l)
	res, err := t.client().Do(req)
	if err != nil {
		return 0, t.quoted(fmt.Errorf("POST %s: %w", to.Path, err))
	}
	_ = res.Body.Close()
	return res.StatusCode, nil
}
