package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func serve() error {
	if *never {
		hang()
	}
	l, err := listen()
	if err != nil {
		return err
	}
	listening = l
	go announce()
	if *dieAfter > 0 {
		time.AfterFunc(*dieAfter, func() {
			fmt.Fprintln(os.Stderr, "lost the database")
			os.Exit(3)
		})
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if !*ignoreTerm {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		go func() {
			<-term
			if *module != "" {
				fmt.Println("terminated")
			}
			stop()
		}()
	}
	srv := &http.Server{Handler: handler(), ConnContext: newSession}
	if *module != "" {
		srv.Handler = behindModule(srv.Handler, stop)
	}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		time.Sleep(*stopDelay)
		grace, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		done <- srv.Shutdown(grace)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) && !reloaded.Load() {
		return err
	}
	return <-done
}

// announce says that the app is ready, where the gate is about how it says so.
func announce() {
	switch *gated {
	case "log":
		waitForGate()
		fmt.Fprintln(os.Stderr, "now ready to serve, really")
	case "notify":
		waitForGate()
		notify("READY=1\nSTATUS=serving")
	}
}

func waitForGate() {
	for !gateOpen() {
		time.Sleep(2 * time.Millisecond)
	}
}

func gateOpen() bool {
	if *gate == "" {
		return true
	}
	_, err := os.Stat(*gate)
	return err == nil
}

// notify is sd_notify(3).
func notify(state string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Sendto(fd, []byte(state), 0, &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")})
		_ = unix.Close(fd)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "notify:", err)
	}
}

func listen() (net.Listener, error) {
	if *gated == "listen" {
		waitForGate()
	}
	if *two {
		if _, err := net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	switch {
	case os.Getenv("LISTEN_FDS") == "1":
		given := os.NewFile(3, "listener")
		defer func() { _ = given.Close() }()
		return net.FileListener(given)
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
