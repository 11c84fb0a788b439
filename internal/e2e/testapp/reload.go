package main

import (
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

var (
	listening net.Listener // of the app
	reloaded  atomic.Bool  // it is closed, and yet the app goes on
)

// reload gives up the app's listener: to a child that goes on with the socket, as
// servers do that reload without a pause, or with to=elsewhere for another port.
// A process that has done so already, and is asked on an old connection, does nothing.
func reload(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	if reloaded.Swap(true) {
		return
	}
	var err error
	if r.URL.Query().Get("to") == "elsewhere" {
		_, err = net.Listen("tcp", "127.0.0.1:0")
	} else {
		err = passOn(listening.(*net.TCPListener))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = listening.Close()
}

// passOn starts a child that listens on the socket.
func passOn(l *net.TCPListener) error {
	f, err := l.File()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = os.StartProcess("/proc/self/exe", []string{"testapp"}, &os.ProcAttr{
		Files: []*os.File{nil, os.Stdout, os.Stderr, f}, Env: append(os.Environ(), "LISTEN_FDS=1"),
	})
	return err
}
