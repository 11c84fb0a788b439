package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hanging has /health never answer.
var hanging atomic.Bool

// larder is memory that is in use.
var larder struct {
	sync.Mutex
	data [][]byte
}

// warmed is set once /warm has been answered.
var warmed atomic.Bool

func trouble(mux *http.ServeMux) {
	mux.HandleFunc("/hang", func(http.ResponseWriter, *http.Request) { hanging.Store(true) })
	mux.HandleFunc("/eat", eat)
	mux.HandleFunc("/flood", flood)
	mux.HandleFunc("/warm", warm)
	mux.HandleFunc("/warmed", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Instance", os.Getenv("ROOST_INSTANCE"))
		fmt.Fprint(w, warmed.Load())
	})
}

// eat takes so many MiB for good.
func eat(w http.ResponseWriter, r *http.Request) {
	mib, err := strconv.Atoi(r.URL.Query().Get("mib"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	data := make([]byte, mib<<20)
	for i := 0; i < len(data); i += 4096 {
		data[i] = 1
	}
	larder.Lock()
	larder.data = append(larder.data, data)
	larder.Unlock()
}

// flood writes so many lines of 100 bytes, at most 100 MB a second where it is told to
// be slow, and answers how long that took. It writes 500 at once, or as many as it is told.
func flood(w http.ResponseWriter, r *http.Request) {
	lines, err := strconv.Atoi(r.URL.Query().Get("lines"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	atOnce := 500
	if text := r.URL.Query().Get("at-once"); text != "" {
		if atOnce, err = strconv.Atoi(text); err != nil || atOnce < 1 {
			http.Error(w, "at-once is not a number of lines", http.StatusBadRequest)
			return
		}
	}
	block := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), atOnce)
	began := time.Now()
	for n := 0; n < lines; n += atOnce {
		if r.URL.Query().Has("slow") {
			time.Sleep(time.Until(began.Add(time.Duration(n*100) * time.Second / 100e6)))
		}
		if _, err := os.Stdout.Write(block); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	fmt.Fprint(w, time.Since(began))
}

// warm takes a moment, and answers with the status that it is asked for.
func warm(w http.ResponseWriter, r *http.Request) {
	time.Sleep(300 * time.Millisecond)
	warmed.Store(true)
	if status, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
		w.WriteHeader(status)
	}
	fmt.Printf("warmed up by %s, token %v\n", r.Host, r.Header.Get("Roost-Token") == os.Getenv("ROOST_TOKEN"))
}
