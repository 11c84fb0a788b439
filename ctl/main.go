// Command roostctl is Roost's command line: a client of the daemon's gRPC API
// that keeps no state of its own.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/roostd/roost/ctl/internal/cli"
)

// version is set by the linker.
var version = "devel"

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	dir, _ := os.Getwd()          // "" where it is gone: relative paths then fail by themselves
	program, _ := os.Executable() // "" leaves up to PATH
	os.Exit(cli.Run(context.Background(), cli.Env{
		Args: os.Args[1:], Environ: os.Environ(), Dir: dir, UID: os.Getuid(), Executable: program, Version: version,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals,
	}))
}
