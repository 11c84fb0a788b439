package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

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
	mux.HandleFunc("/health", health)
	mux.HandleFunc("/write", write)
	mux.HandleFunc("/run", run)
	mux.HandleFunc("/reload", reload)
	mux.HandleFunc("/gone", func(w http.ResponseWriter, _ *http.Request) { answer(w, gone.Load()) })
	mux.HandleFunc("/came", func(w http.ResponseWriter, _ *http.Request) { answer(w, came.Load()) })
	mux.HandleFunc("/ntlm", ntlm)
	streams(mux)
	trouble(mux)
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
	came.Add(1)
	w.Header().Set("Content-Length", "10")
	for range 10 {
		select {
		case <-time.After(d / 10):
		case <-r.Context().Done():
			gone.Add(1)
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
	answer(w, map[string]any{
		"uid": os.Getuid(), "gid": os.Getgid(), "groups": groups, "umask": umask,
		"nofile": limit.Max, "pid": os.Getpid(),
	})
}

// health answers 503 while the gate is closed.
func health(w http.ResponseWriter, r *http.Request) {
	if hanging.Load() {
		<-r.Context().Done()
		return
	}
	if *gated == "health" && !gateOpen() {
		http.Error(w, "migrating", http.StatusServiceUnavailable)
	}
}

// write writes the body to a stream, as it is.
func write(_ http.ResponseWriter, r *http.Request) {
	to := os.Stdout
	if r.URL.Query().Get("to") == "stderr" {
		to = os.Stderr
	}
	_, _ = io.Copy(to, r.Body)
}

// run runs a command as a child of the app and answers with what came of it.
func run(w http.ResponseWriter, r *http.Request) {
	argv := r.URL.Query()["arg"]
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(r.Context(), argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, map[string]any{"code": cmd.ProcessState.ExitCode(), "stdout": stdout.String(), "stderr": stderr.String()})
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
