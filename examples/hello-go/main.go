// Command hello-go is the smallest app in Go that does everything right: it
// takes the address it is given, says so, and on SIGTERM finishes what it began.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "hello-go:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	l, err := listen()
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(hello), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	fmt.Println("hello-go: listening on", l.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// Below stop.timeout of the manifest, which ends in SIGKILL.
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	fmt.Println("hello-go: stopping")
	return srv.Shutdown(ctx)
}

// listen returns the socket that was passed on (listen.mode: fd), or one at $PORT (listen.mode: port).
func listen() (net.Listener, error) {
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) && cmp.Or(os.Getenv("LISTEN_FDS"), "0") != "0" {
		// The first descriptor after stdin, stdout and stderr, see sd_listen_fds(3).
		l, err := net.FileListener(os.NewFile(3, "LISTEN_FD_3"))
		if err != nil {
			return nil, fmt.Errorf("take over the socket that was passed: %w", err)
		}
		return l, nil
	}
	port := os.Getenv("PORT")
	if port == "" {
		return nil, errors.New("neither LISTEN_FDS nor PORT is set: start this under Roost, or with PORT=8000")
	}
	return net.Listen("tcp", "127.0.0.1:"+port)
}

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello from Go: %s %s\n", r.Method, r.URL.Path)
	fmt.Fprintf(w, "below %q, instance %s, pid %d, for %s\n",
		os.Getenv("ROOST_PATH_BASE"), os.Getenv("ROOST_INSTANCE"), os.Getpid(), r.Header.Get("X-Forwarded-For"))
}
