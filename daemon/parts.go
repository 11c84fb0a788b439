package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/roostd/roost/daemon/internal/api"
	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	"github.com/roostd/roost/daemon/internal/keeper"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
	"github.com/roostd/roost/daemon/internal/supervisor"
)

// launcher is the keeper's client as the supervisor knows it: they know nothing
// of each other.
type launcher struct{ *keeper.Client }

// Launch starts a process.
func (l launcher) Launch(ctx context.Context, launch app.Launch) (supervisor.Process, error) {
	p, err := l.Client.Launch(ctx, launch)
	if err != nil {
		return nil, err // and no *keeper.Process that is nil
	}
	return p, nil
}

// Recover returns the processes of earlier daemons.
func (l launcher) Recover(ctx context.Context) ([]supervisor.Process, error) {
	found, err := l.Client.Recover(ctx)
	list := make([]supervisor.Process, len(found))
	for i, p := range found {
		list[i] = p
	}
	return list, err
}

// conditions carries what probes find to the supervisor, which is built after them.
type conditions chan condition

type condition struct {
	app, kind, message string
	instance           app.InstanceID
}

func newConditions() conditions {
	const enough = 256
	return make(conditions, enough)
}

// note never blocks; a condition that finds no place is found again by the next start.
func (c conditions) note(name string, id app.InstanceID, kind, message string) {
	select {
	case c <- condition{name, kind, message, id}:
	default:
	}
}

func (c conditions) run(ctx context.Context, s *supervisor.Supervisor) error {
	for {
		select {
		case found := <-c:
			s.Condition(found.app, found.instance, found.kind, found.message)
		case <-ctx.Done():
			return nil
		}
	}
}

// keeperConfig says how the keeper is reached and, where there is none, started.
func (d *daemon) keeperConfig() (keeper.ClientConfig, error) {
	cfg := d.cfg
	var err error
	if d.exec, err = os.Open(filepath.Join(filepath.Dir(cfg.program), "roost-exec")); err != nil {
		return keeper.ClientConfig{}, fmt.Errorf("roost-exec, which starts apps, is not beside roostd: %w: install it there", err)
	}
	if cfg.uid == 0 {
		if _, err := user.Lookup(cfg.appUser); err != nil {
			cfg.log.Warn("apps that name no user run as root: create the account, or name one with --app-user", "app_user", cfg.appUser)
		}
	}
	args := []string{
		cfg.program, "keeper", "--state-dir", cfg.stateDir, "--log-dir", cfg.logDir, "--exec", keeper.InheritedExec,
		"--log-level", cfg.logLevel, "--log-format", cfg.logFormat,
	}
	if cfg.uid == 0 {
		args = append(args, "--log-group", auth.OperatorGroup)
	}
	return keeper.ClientConfig{
		StateDir: cfg.stateDir, RunDir: filepath.Dir(cfg.socket), AppUser: cfg.appUser, ProxyGroup: cfg.proxyGroup,
		// What runs, and not what its file has become since: a keeper of another version
		// belongs to the daemon of that version.
		Env: cfg.env, Exe: "/proc/self/exe", Exec: d.exec, Args: args, Version: cfg.version, LogMaxTotal: cfg.logTotal(), LogsDeleted: d.deletions.tell,
		KeeperStarted: d.keeperStarted, KeeperFailed: d.keeperFailed, Orphan: d.orphan,
		StdoutFault: d.stdoutFault, Output: d.output, OutputDropped: d.outputDropped, OutputMissing: d.outputMissing, Log: cfg.log.Named("keeper"),
	}, nil
}

func (d *daemon) keeperStarted(pid int, why string) {
	e := app.Event{
		ID: app.EventKeeperStarted, Severity: app.Info, Message: "keeper started",
		Attributes: map[string]string{"pid": strconv.Itoa(pid)},
	}
	if why != "" {
		e.Severity = app.Warning
		e.Message += ", the one before it has ended: " + why
	}
	d.events.Record(e)
}

func (d *daemon) keeperFailed(err error) {
	d.events.Record(app.Event{
		ID: app.EventKeeperFailed, Severity: app.Error,
		Message:    err.Error() + ": apps run on and serve, and what they write is kept for the next keeper, but none can be started or stopped before there is one; it is tried again every second",
		Attributes: map[string]string{"error": err.Error()},
	})
}

func (d *daemon) orphan(pid, uid int, killed bool) {
	e := app.Event{
		ID: app.EventOrphan, Severity: app.Warning,
		Message:    fmt.Sprintf("process %d belongs to no instance that can be told; it is killed when the last instance of its user (uid %d) has ended", pid, uid),
		Attributes: map[string]string{"pid": strconv.Itoa(pid), "uid": strconv.Itoa(uid)},
	}
	if killed {
		e.Message = fmt.Sprintf("killed process %d, which outlived the instances of its user (uid %d)", pid, uid)
	}
	d.events.Record(e)
}

func (d *daemon) stdoutFault(p app.ProcessInfo, why string) {
	d.events.Record(app.Event{
		ID: app.EventStdoutFileFailed, App: p.App, Instance: p.ID, Severity: app.Warning,
		Message: "the copy of the app's output that logs.stdout_file asks for cannot be written: " + why +
			": the app runs, and roostctl logs has its output; see that the app's user may write there and that there is room, then recycle",
		Attributes: map[string]string{
			"pid": strconv.Itoa(p.PID), "generation": strconv.FormatInt(p.Generation, 10), "error": why,
		},
	})
}

// proxyGID is the group that apps' sockets are opened to, -1 for none.
func (d *daemon) proxyGID() int {
	if d.cfg.uid != 0 {
		return -1
	}
	gid, ok := auth.LookupGroup(d.cfg.proxyGroup)
	if !ok {
		return -1
	}
	return int(gid)
}

func (d *daemon) record(id app.EventID, message, actor string) {
	d.events.Record(app.Event{
		ID: id, Severity: app.Info, Actor: actor, Message: message,
		Attributes: map[string]string{
			"version": d.cfg.version, "pid": strconv.Itoa(os.Getpid()), "epoch": strconv.FormatUint(d.epoch, 10),
		},
	})
}

// Info tells what runs and where.
func (d *daemon) Info(context.Context) api.Info {
	i := api.Info{
		Version: d.cfg.version, PID: os.Getpid(), StartTime: d.start, Epoch: d.epoch,
		StateDir: d.cfg.stateDir, LogDir: d.cfg.logDir, Socket: d.cfg.socket,
	}
	k, ok := d.keeper.Keeper()
	if !ok {
		return i
	}
	i.KeeperPID, i.KeeperVersion = k.PID, k.Version
	i.Abilities = abilities(k)
	return i
}

// abilities is what the host can do, as the keeper found it.
func abilities(k keeper.KeeperInfo) []api.Ability {
	lane := k.Abilities["lane"]
	kill := api.Ability{Name: "cgroup", Available: lane != tree.LaneScan, Detail: "an instance's processes are held together by " + lane}
	if !kill.Available {
		kill.Detail = "there is none to use: an instance's processes are found by descent, group, session and environment"
	}
	list := []api.Ability{kill}
	for _, limit := range []string{"memory", "cpu", "pids"} {
		how, known := k.Abilities["limits."+limit]
		if !known { // an older keeper's
			continue
		}
		a := api.Ability{Name: "limits." + limit, Available: how != "", Detail: "kept by " + how}
		if !a.Available {
			a.Detail = k.Abilities["lacking."+limit]
		}
		list = append(list, a)
	}
	return list
}

// makeFolders makes the daemon's folders, with modes that keep others out of them.
func makeFolders(cfg config) error {
	logGroup := -1
	if cfg.uid == 0 {
		if gid, ok := auth.LookupGroup(auth.OperatorGroup); ok {
			logGroup = int(gid)
		}
	}
	for _, make := range []func() error{
		func() error { return makeStateDir(cfg.stateDir, cfg.uid) },
		func() error { return makeSocketDir(filepath.Dir(cfg.socket), cfg.uid) },
		func() error { return makeLogDir(cfg.logDir, logGroup) },
	} {
		if err := make(); err != nil {
			return err
		}
	}
	return nil
}
