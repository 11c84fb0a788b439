// Command clock streams the time as server-sent events: responses that never
// end, and that a proxy must pass on as they are written.
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

//go:embed index.html
var indexHTML string

// The page's links begin with the path that the app is mounted at: the app
// itself sees paths without it (strip_path), the browser does not.
var index = template.Must(template.New("index").Parse(indexHTML))

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv("PORT"), os.Getenv("ROOST_PATH_BASE")); err != nil {
		fmt.Fprintln(os.Stderr, "clock:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, port, pathBase string) error {
	if port == "" {
		return errors.New("PORT is not set: start this under Roost, or with PORT=8000")
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = index.Execute(w, pathBase) // the client has gone away
	})
	mux.HandleFunc("GET /events", events)
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		// Requests see SIGTERM as the end of their context, and end their streams.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	fmt.Println("clock: listening on", l.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	fmt.Println("clock: stopping")
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	return srv.Shutdown(ctx)
}

// events sends the time, every second, until the client or the app goes.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for now := time.Now(); ; {
		if _, err := fmt.Fprintf(w, "data: %s\n\n", now.UTC().Format(time.TimeOnly)); err != nil {
			return
		}
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case now = <-tick.C:
		}
	}
}
