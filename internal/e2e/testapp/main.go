// Command testapp is the app that the end-to-end tests host. Its flags say how
// it misbehaves.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
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
	two        = flag.Bool("two", false, "listen on a second port as well, first of all")
	deep       = flag.Int("deep", 0, "have a descendant of so many generations, in a session of its own, do what the app does")
	hangs      = flag.Bool("hangs", false, "never answer /health")
	dieAfter   = flag.Duration("die-after", 0, "exit 3 so long after listening")
	ignoreTerm = flag.Bool("ignore-term", false, "ignore SIGTERM")
	tree       = flag.Int("tree", 0, "leave this many detached children that ignore SIGTERM")
	worker     = flag.Bool("worker", false, "no listener; write a line a second")
	detached   = flag.Bool("detached", false, "be such a child")
	middle     = flag.Bool("middle", false, "start a detached child and exit, as a daemon does")
	count      = flag.Int("count", 0, "no listener; write this many numbered lines a second, and how many they were at SIGTERM")
	dial       = flag.String("dial", "", "connect to this unix socket, and exit")
	gate       = flag.String("gate", "", "wait for this file to be there before -gated")
	gated      = flag.String("gated", "listen", "what waits for the file: listen, health (/health answers 503), log (a line), notify")
)

func main() {
	flag.Parse()
	switch {
	case *dial != "":
		if _, err := net.Dial("unix", *dial); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
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
	hanging.Store(*hangs)
	if *deep > 0 {
		spawn("-deep=" + strconv.Itoa(*deep-1))
		hang()
	}
	fmt.Printf("started %s release=%q\n", os.Getenv("ROOST_INSTANCE"), os.Getenv("ROOST_RELEASE"))
	if *exit >= 0 {
		fmt.Fprintln(os.Stderr, "cannot open the database")
		os.Exit(*exit)
	}
	time.Sleep(*boot)
	switch {
	case *worker:
		work()
	case *count > 0:
		countLines(*count)
		return
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

// countLines writes numbered lines until SIGTERM, then how many they were.
func countLines(perSecond int) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	tick := time.NewTicker(time.Second / time.Duration(perSecond) * 10)
	n := 0
	for {
		select {
		case <-term:
			fmt.Printf("lines %d\n", n)
			return
		case <-tick.C:
		}
		for range 10 {
			fmt.Printf("line %08d of a text that is as long as log lines are, give or take a few words\n", n)
			n++
		}
	}
}

func work() {
	for n := 0; ; n++ {
		fmt.Printf("working %d\n", n)
		time.Sleep(time.Second)
	}
}
