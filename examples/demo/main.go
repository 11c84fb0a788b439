// Command demo shows what Roost does: it starts a daemon and a proxy of its own,
// hosts the apps of examples/roost.yaml, requests some that do not run yet, and
// says what happened and how long it took. On a terminal everything then stays
// up until Ctrl-C. Nothing is left behind. Run it with `make demo`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	// A child's Pdeathsig is sent when the thread that started it ends, so that must be the program's own.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	cfg, err := configure()
	if err == nil {
		err = run(ctx, cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// configure finds the binaries beside this one (bin/examples/demo), and the examples beside them.
func configure() (config, error) {
	exe, err := os.Executable()
	if err != nil {
		return config{}, err
	}
	bin := filepath.Dir(filepath.Dir(exe))
	cfg := config{
		bin:      bin,
		examples: filepath.Join(filepath.Dir(bin), "examples"),
		env:      slices.DeleteFunc(os.Environ(), isRoostSetting),
		root:     os.Getuid() == 0,
		stay:     isTerminal(os.Stdout),
		out:      os.Stdout,
	}
	for _, name := range []string{"roostd", "roost-exec", "roost-proxy", "roostctl"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return config{}, fmt.Errorf("%w: run make demo, which builds what it needs", err)
		}
	}
	return cfg, nil
}

// isRoostSetting reports whether a NAME=VALUE would change what the programs do here.
func isRoostSetting(env string) bool {
	return slices.ContainsFunc([]string{"ROOSTD_", "ROOST_PROXY_", "ROOSTCTL_"}, func(prefix string) bool {
		return strings.HasPrefix(env, prefix)
	})
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
