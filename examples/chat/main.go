// Command chat is a chat room over WebSockets, in one process.
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
		fmt.Fprintln(os.Stderr, "chat:", err)
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
	room := newRoom()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = index.Execute(w, pathBase) // the client has gone away
	})
	mux.HandleFunc("GET /ws", room.join)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	fmt.Println("chat: listening on", l.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	fmt.Println("chat: stopping")
	// Shutdown leaves WebSockets alone: they are no longer the server's.
	room.close()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	return srv.Shutdown(ctx)
}
