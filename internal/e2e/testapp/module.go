package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
)

var (
	module    = flag.String("module", "", "behave like an ASP.NET Core app behind its module, whose shutdown request it accepts, refuses, hangs at, or misses")
	stopDelay = flag.Duration("stop-delay", 0, "once told to stop, serve so long before stopping")
)

// middleware is the app's half of what the ASP.NET Core Module and an app agree
// on, as the IIS integration of ASP.NET Core implements it.
type middleware struct {
	app         http.Handler
	token, base string
	stop        func()
}

// behindModule adds the middleware. It is active where port, path and token are set.
func behindModule(app http.Handler, stop func()) http.Handler {
	m := &middleware{app: app, token: os.Getenv("ASPNETCORE_TOKEN"), base: strings.TrimRight(os.Getenv("ASPNETCORE_APPL_PATH"), "/"), stop: stop}
	if m.token == "" || os.Getenv("ASPNETCORE_PORT") == "" || os.Getenv("ASPNETCORE_APPL_PATH") == "" {
		fmt.Println("the middleware is not active")
		return app
	}
	return m
}

// The order is that of ASP.NET Core: path base, forwarded headers, token, shutdown.
func (m *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	base, path := "", r.URL.Path
	if n := len(m.base); len(path) >= n && strings.EqualFold(path[:n], m.base) && (len(path) == n || path[n] == '/') {
		base, path = path[:n], path[n:]
	}
	scheme, remote := "http", r.RemoteAddr
	if f := last(r, "X-Forwarded-For"); f != "" {
		r.Header.Set("X-Original-For", remote)
		remote = f
		r.Header.Del("X-Forwarded-For")
	}
	if p := last(r, "X-Forwarded-Proto"); p != "" {
		r.Header.Set("X-Original-Proto", scheme)
		scheme = p
		r.Header.Del("X-Forwarded-Proto")
	}
	if r.Header.Get("MS-ASPNETCORE-TOKEN") != m.token {
		// What it prints is not for everybody to see, and yet it prints it.
		fmt.Printf("'MS-ASPNETCORE-TOKEN' does not match the expected pairing token '%s', request rejected.\n", m.token)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodPost && strings.EqualFold(path, "/iisintegration") && strings.EqualFold(r.Header.Get("MS-ASPNETCORE-EVENT"), "shutdown") {
		m.shutdown(w, r)
		return
	}
	if os.Getenv("ASPNETCORE_IIS_WEBSOCKETS_SUPPORTED") == "false" {
		r.Header.Del("Upgrade")
	}
	if rest, ok := strings.CutPrefix(path, "/see"); ok {
		answer(w, map[string]any{
			"pid": os.Getpid(), "method": r.Method, "scheme": scheme, "host": r.Host, "pathBase": base, "path": "/see" + rest,
			"rawTarget": r.RequestURI, "query": r.URL.RawQuery, "remote": remote, "local": os.Getenv("ASPNETCORE_PORT"), "headers": r.Header,
		})
		return
	}
	inner := r.Clone(r.Context())
	inner.URL.Path, inner.URL.RawPath = path, ""
	m.app.ServeHTTP(w, inner)
}

func (m *middleware) shutdown(w http.ResponseWriter, r *http.Request) {
	fmt.Println("shutdown requested")
	switch *module {
	case "accepts":
		w.WriteHeader(http.StatusAccepted)
		m.stop()
	case "refuses":
		http.Error(w, "not now", http.StatusForbidden)
	case "hangs":
		<-r.Context().Done()
	default:
		http.NotFound(w, r)
	}
}

// last is the last element of a list, the only one that counts.
func last(r *http.Request, name string) string {
	all := strings.Split(strings.Join(r.Header.Values(name), ","), ",")
	return strings.TrimSpace(all[len(all)-1])
}
