// Command testapp is the app that the end-to-end tests host. Its flags say how
// it misbehaves.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

var (
	boot       = flag.Duration("boot", 0, "wait so long before listening")
	exit       = flag.Int("exit", -1, "print a line and exit with this code instead of listening")
	never      = flag.Bool("never", false, "run, but never listen")
	otherPort  = flag.Bool("other-port", false, "listen on a port of its own choice")
	otherAddr  = flag.Bool("other-addr", false, "listen on 127.0.0.2")
	ipv6       = flag.Bool("ipv6", false, "listen on ::1")
	dieAfter   = flag.Duration("die-after", 0, "exit 3 so long after listening")
	ignoreTerm = flag.Bool("ignore-term", false, "ignore SIGTERM")
	tree       = flag.Int("tree", 0, "leave this many detached children that ignore SIGTERM")
	worker     = flag.Bool("worker", false, "no listener; write a line a second")
	detached   = flag.Bool("detached", false, "be such a child")
	middle     = flag.Bool("middle", false, "start a detached child and exit, as a daemon does")
)

func main() {
	flag.Parse()
	switch {
	case *detached:
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		hang()
	case *middle:
		spawn("-detached")
		return
	}
	if *ignoreTerm {
		signal.Ignore(syscall.SIGTERM)
	}
	for range *tree {
		spawn("-middle")
	}
	fmt.Printf("started %s release=%q\n", os.Getenv("ROOST_INSTANCE"), os.Getenv("ROOST_RELEASE"))
	if *exit >= 0 {
		fmt.Fprintln(os.Stderr, "cannot open the database")
		os.Exit(*exit)
	}
	time.Sleep(*boot)
	if *worker {
		work()
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// spawn starts this program again in a session of its own.
func spawn(mode string) {
	p, err := os.StartProcess("/proc/self/exe", []string{"testapp", mode}, &os.ProcAttr{
		Files: []*os.File{nil, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err == nil && mode == "-middle" {
		_, err = p.Wait()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hang does nothing for ever; an empty select would be reported as a deadlock.
func hang() {
	for {
		time.Sleep(time.Hour)
	}
}

func work() {
	for n := 0; ; n++ {
		fmt.Printf("working %d\n", n)
		time.Sleep(time.Second)
	}
}

func serve() error {
	if *never {
		hang()
	}
	l, err := listen()
	if err != nil {
		return err
	}
	if *dieAfter > 0 {
		time.AfterFunc(*dieAfter, func() {
			fmt.Fprintln(os.Stderr, "lost the database")
			os.Exit(3)
		})
	}
	srv := &http.Server{Handler: handler()}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if *ignoreTerm {
		ctx = context.Background()
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		done <- srv.Shutdown(grace)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

func listen() (net.Listener, error) {
	switch {
	case os.Getenv("LISTEN_FDS") == "1":
		return net.FileListener(os.NewFile(3, "listener"))
	case os.Getenv("ROOST_SOCKET") != "":
		return net.Listen("unix", os.Getenv("ROOST_SOCKET"))
	case *otherPort:
		return net.Listen("tcp", "127.0.0.1:0")
	case *otherAddr:
		return net.Listen("tcp", "127.0.0.2:"+os.Getenv("PORT"))
	case *ipv6:
		return net.Listen("tcp", "[::1]:"+os.Getenv("PORT"))
	}
	return net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", hello)
	mux.HandleFunc("/sleep", sleep)
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { answer(w, os.Environ()) })
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"host": r.Host, "uri": r.RequestURI, "header": r.Header})
	})
	mux.HandleFunc("/whoami", whoami)
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	mux.HandleFunc("/big", big)
	return mux
}

func hello(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Instance", os.Getenv("ROOST_INSTANCE"))
	answer(w, map[string]any{
		"instance": os.Getenv("ROOST_INSTANCE"), "release": os.Getenv("ROOST_RELEASE"),
		"pid": os.Getpid(), "body": n, "version": os.Getenv("VERSION"), "dir": workingDir(),
	})
}

func workingDir() string {
	dir, err := os.Readlink("/proc/self/cwd")
	if err != nil {
		return err.Error()
	}
	return dir
}

// sleep answers late, byte by byte, so that a cut is seen.
func sleep(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.URL.Query().Get("for"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", "10")
	for range 10 {
		select {
		case <-time.After(d / 10):
		case <-r.Context().Done():
			fmt.Println("client gone")
			return
		}
		_, _ = io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush()
	}
}

func whoami(w http.ResponseWriter, _ *http.Request) {
	groups, _ := os.Getgroups()
	umask := syscall.Umask(0)
	syscall.Umask(umask)
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	files, _ := os.ReadDir("/proc/self/fd")
	answer(w, map[string]any{
		"uid": os.Getuid(), "gid": os.Getgid(), "groups": groups, "umask": umask,
		"nofile": limit.Max, "files": len(files), "pid": os.Getpid(),
	})
}

func big(w http.ResponseWriter, r *http.Request) {
	var n int64
	_, _ = fmt.Sscan(r.URL.Query().Get("n"), &n)
	_, _ = io.CopyN(w, zeros{}, n)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
