package cli

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/internal/rpc"
)

// stubDaemon is a roostd for up: the fake daemon as a program. It writes a line
// for each app when it serves and one when it is told to end. A file named die in
// its working folder makes it fail.
func stubDaemon() {
	flags := flag.NewFlagSet("roostd", flag.ExitOnError)
	socket := flags.String("socket", "", "")
	state := flags.String("state-dir", "", "")
	flags.String("log-format", "text", "")
	_ = flags.Parse(os.Args[1:])
	if _, err := os.Stat("refuse"); err == nil {
		logLine(`{"@level":"error","@message":"the state folder is in use","pid":77}`)
		os.Exit(1)
	}
	_ = os.MkdirAll(*state, 0o700)
	_ = os.Remove(*socket)
	l, err := net.Listen("unix", *socket)
	if err != nil {
		logLine(fmt.Sprintf("%q", err.Error()))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	f := &upDaemon{fakeDaemon: newFakeDaemon(), ended: make(chan struct{})}
	s := grpc.NewServer(rpc.ServerOptions()...)
	f.register(s)
	roostv1.RegisterAppServiceServer(s, f)
	roostv1.RegisterLogServiceServer(s, f)
	logLine(`{"@level":"warn","@message":"cgroups are not writable","@module":"roostd","path":"/sys"}`)
	logLine(fmt.Sprintf(`{"@level":"info","@message":"listening","listener":"unix","address":%q}`, *socket))
	go dieWhenTold()
	context.AfterFunc(ctx, func() { close(f.ended) })
	_ = rpc.Serve(ctx, s, l, 300*time.Millisecond)
	note("roostd ended")
}

// dieWhenTold exits where a file named die appears, which a later daemon survives.
func dieWhenTold() {
	for {
		if os.Remove("die") == nil {
			logLine("panic: told to die")
			os.Exit(3)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// upDaemon is the part of the fake that only up needs.
type upDaemon struct {
	*fakeDaemon
	ended chan struct{}
}

func (f *upDaemon) register(s *grpc.Server) {
	roostv1.RegisterInstanceServiceServer(s, f.fakeDaemon)
	roostv1.RegisterEventServiceServer(s, f.fakeDaemon)
	roostv1.RegisterSystemServiceServer(s, f.fakeDaemon)
}

func (f *upDaemon) WatchApps(_ *roostv1.WatchAppsRequest, s roostv1.AppService_WatchAppsServer) error {
	for {
		list, _ := f.ListApps(s.Context(), nil)
		if err := s.Send(&roostv1.WatchAppsResponse{Message: &roostv1.WatchAppsResponse_Delta{Delta: &roostv1.AppsDelta{Upserts: list.GetApps()}}}); err != nil {
			return err
		}
		select {
		case <-s.Context().Done():
			return nil
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (f *upDaemon) ReadLogs(req *roostv1.ReadLogsRequest, s roostv1.LogService_ReadLogsServer) error {
	send := func(text string) error {
		return s.Send(&roostv1.ReadLogsResponse{Message: &roostv1.ReadLogsResponse_Batch{Batch: &roostv1.LogBatch{Entries: []*roostv1.LogEntry{
			{App: req.GetApp(), Instance: "i1", Time: timestamppb.Now(), Stream: roostv1.LogStream_LOG_STREAM_STDOUT, Data: []byte(text)},
		}}}})
	}
	if err := send("\x1b[32mhello from " + req.GetApp() + "\nhalf a "); err != nil {
		return err
	}
	if err := send("line\n"); err != nil {
		return err
	}
	select {
	case <-s.Context().Done():
		return nil
	case <-f.ended:
	}
	return send("last words of " + req.GetApp())
}

// stubProxy is a roost-proxy for up: it listens and ends.
func stubProxy() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	for i, a := range os.Args {
		if a != "--listen" {
			continue
		}
		l, err := net.Listen("tcp", os.Args[i+1])
		if err != nil {
			logLine(fmt.Sprintf(`{"@level":"error","@message":"failed","error":%q}`, err.Error()))
			os.Exit(1)
		}
		logLine(fmt.Sprintf(`{"@level":"info","@message":"listening","listener":"http","address":%q}`, l.Addr().String()))
	}
	if slices.Contains(os.Environ(), "ROOST_PROXY_LISTEN=:1") {
		logLine(`{"@level":"error","@message":"the environment of another proxy came through"}`)
	}
	<-ctx.Done()
	note("roost-proxy ended")
}

func logLine(s string) { fmt.Fprintln(os.Stderr, s) }

// note leaves a word in the working folder that a script can look at.
func note(s string) {
	f, err := os.OpenFile(filepath.Join(".", "notes"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		fmt.Fprintln(f, s)
		_ = f.Close()
	}
}

func containsAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}
