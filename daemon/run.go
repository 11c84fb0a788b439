package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/roostd/roost/daemon/internal/api"
	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/auth"
	"github.com/roostd/roost/daemon/internal/endpoint"
	"github.com/roostd/roost/daemon/internal/folder"
	"github.com/roostd/roost/daemon/internal/keeper"
	"github.com/roostd/roost/daemon/internal/logs"
	"github.com/roostd/roost/daemon/internal/probe"
	"github.com/roostd/roost/daemon/internal/store"
	"github.com/roostd/roost/daemon/internal/supervisor"
	"github.com/roostd/roost/daemon/internal/trim"
	"github.com/roostd/roost/internal/rpc"
	"github.com/roostd/roost/internal/rungroup"
)

// callGrace is how long calls that are open when the daemon ends may go on.
const callGrace = 5 * time.Second

// run runs a daemon until ctx ends or somebody has it shut down. Unless it
// detaches, or fails, neither an app's process nor a keeper is left when it
// returns.
func run(ctx context.Context, cfg config) (err error) {
	if err := makeFolders(cfg); err != nil {
		return err
	}
	lock, err := lockStateDir(cfg.stateDir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // last: until then nobody else may touch what is ours

	db, err := store.Open(filepath.Join(cfg.stateDir, "roost.db"), hasEvents(cfg.stateDir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	d, err := newDaemon(cfg, db)
	if err != nil {
		return err
	}
	defer d.close()
	listener, err := listenUnix(cfg.socket, cfg.uid, cfg.gid)
	if err != nil {
		return err
	}
	return d.run(ctx, listener)
}

// daemon is a daemon with all its parts.
type daemon struct {
	cfg        config
	state      *store.Store
	epoch      uint64
	start      time.Time
	exec       *os.File // roost-exec, as it was when this daemon started
	keeper     *keeper.Client
	logs       *logs.Store
	events     *logs.Events
	endpoints  *endpoint.Registry
	prober     *probe.Prober
	folders    *folder.Watcher
	conditions conditions
	deletions  deletions
	apps       *supervisor.Supervisor
	health     *health.Server
	life       *life
}

// newDaemon builds the parts, each from those before it. Nothing runs yet.
func newDaemon(cfg config, db *store.Store) (d *daemon, err error) {
	d = &daemon{
		cfg: cfg, state: db, start: time.Now(), conditions: newConditions(), health: health.NewServer(), life: newLife(),
	}
	d.deletions.record = func(e app.Event) { d.events.Record(e) }
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	api.SetHealth(d.health, healthv1.HealthCheckResponse_NOT_SERVING)
	if d.epoch, err = db.NextEpoch(); err != nil {
		return d, err
	}
	state, err := db.ID()
	if err != nil {
		return d, err
	}
	keeperConfig, err := d.keeperConfig()
	if err != nil {
		return d, err
	}
	if d.keeper, err = keeper.NewClient(keeperConfig); err != nil {
		return d, err
	}
	d.logs = logs.New(logs.Config{
		Dir: cfg.logDir, Token: d.keeper.Token, Gone: d.keeper.Gone, Generation: d.keeper.Generation, State: state, Log: cfg.log.Named("logs"),
	})
	d.events, err = logs.OpenEvents(logs.EventsConfig{
		Dir: eventsDir(cfg.stateDir), Token: d.keeper.Token, State: state, Log: cfg.log.Named("events"),
	})
	if err != nil {
		return d, err
	}
	d.tellRestored()
	d.endpoints, err = endpoint.New(d.epoch, db, d.events, endpoint.Kernel{}, cfg.log.Named("endpoint"))
	if err != nil {
		return d, err
	}
	d.prober = probe.New(probe.Config{
		Log: cfg.log.Named("probe"), Output: d.logs, ProxyGID: d.proxyGID(), Condition: d.conditions.note,
	})
	warnOfOverlap(localPorts, cfg.portLow, cfg.portHigh, cfg.log)
	d.folders = folder.New(cfg.log.Named("folders"))
	d.apps = supervisor.New(supervisor.Config{
		Launcher: launcher{d.keeper}, Prober: d.prober, Publisher: d.endpoints, Watcher: d.folders,
		Recorder: logs.Recorder{Store: d.logs, Events: d.events}, Store: db, Log: cfg.log.Named("supervisor"),
		PortLow: cfg.portLow, PortHigh: cfg.portHigh, StartParallelism: cfg.startParallelism,
	})
	return d, nil
}

// close lets go of what the parts keep open.
func (d *daemon) close() {
	if d.prober != nil {
		d.prober.Close()
	}
	if d.keeper != nil {
		_ = d.keeper.Close()
	}
	if d.exec != nil {
		_ = d.exec.Close()
	}
	if d.events != nil {
		_ = d.events.Close()
	}
}

// run runs all parts. Those that serving needs outlive it: an app is stopped, and
// a call answered, with them.
func (d *daemon) run(ctx context.Context, l net.Listener) error {
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	err := rungroup.Run(parts,
		rungroup.Task{Name: "keeper", Run: d.keeper.Run},
		rungroup.Task{Name: "state", Run: func(ctx context.Context) error { return d.state.Run(ctx, d.cfg.log.Named("state")) }},
		rungroup.Task{Name: "logs", Run: d.logs.Run},
		rungroup.Task{Name: "endpoints", Run: d.endpoints.Run},
		rungroup.Task{Name: "folders", Run: d.folders.Run},
		rungroup.Task{Name: "supervisor", Run: d.apps.Run},
		rungroup.Task{Name: "memory", Run: trim.Run},
		rungroup.Task{Name: "conditions", Run: func(ctx context.Context) error { return d.conditions.run(ctx, d.apps) }},
		rungroup.Task{Name: "api", Run: func(parts context.Context) error {
			defer stop()
			return d.serve(ctx, parts, l)
		}},
	)
	if err != nil || !d.life.tidy() {
		return err
	}
	return d.endKeeper()
}

// serve serves the API until the daemon's life ends, or a part of it fails.
func (d *daemon) serve(ctx, parts context.Context, l net.Listener) error {
	serving, end := context.WithCancel(parts)
	defer end()
	streams, endStreams := context.WithCancel(serving)
	defer endStreams()
	server := d.server(streams)
	d.cfg.log.Info("listening", "listener", "unix", "address", d.cfg.socket)
	return rungroup.Run(serving,
		rungroup.Task{Name: "serve", Run: func(ctx context.Context) error { return rpc.Serve(ctx, server, l, callGrace) }},
		rungroup.Task{Name: "announce", Run: d.announce},
		rungroup.Task{Name: "life", Run: func(serving context.Context) error {
			defer end()
			return d.live(ctx, serving)
		}},
	)
}

// server is the gRPC server of all services; its streams end with ctx.
func (d *daemon) server(streams context.Context) *grpc.Server {
	guard := auth.Guard{
		Policy: auth.Policy{UID: uint32(d.cfg.uid), ProxyGroup: d.cfg.proxyGroup, GroupID: auth.LookupGroup},
		Owner:  d.keeper.Owner, Log: d.cfg.log.Named("auth"),
	}
	options := append(rpc.ServerOptions(), grpc.Creds(auth.Credentials()))
	options = append(options, api.Interceptors(streams, guard, d.apps.Ready(), d.cfg.log.Named("api"))...)
	server := grpc.NewServer(options...)
	api.Services{
		Apps:      &api.AppService{Apps: d.apps, Epoch: d.epoch},
		Instances: &api.InstanceService{Instances: d.apps, InFlight: d.endpoints, Epoch: d.epoch},
		Logs:      &api.LogService{Apps: d.apps, Logs: d.logs},
		Events:    &api.EventService{Events: d.events},
		Routing:   &api.RoutingService{Activator: d.apps, Endpoints: d.endpoints},
		System:    &api.SystemService{System: d, Proxies: d.endpoints},
		Health:    d.health,
	}.Register(server)
	return server
}

// announce tells who waits for it that the daemon is ready.
func (d *daemon) announce(ctx context.Context) error {
	select {
	case <-d.apps.Ready():
	case <-ctx.Done():
		return nil
	}
	if k, ok := d.keeper.Keeper(); ok && k.Abilities["log_dir"] != d.cfg.logDir {
		d.cfg.log.Warn("the keeper writes logs elsewhere: shutdown and start again to move them",
			"log_dir", d.cfg.logDir, "keeper_log_dir", k.Abilities["log_dir"])
	}
	d.record(app.EventDaemonStarted, "roostd "+d.cfg.version+" started", "")
	api.SetHealth(d.health, healthv1.HealthCheckResponse_SERVING)
	d.cfg.notify("READY=1")
	d.cfg.log.Info("ready", "epoch", d.epoch, "apps", len(d.apps.Apps().All()), "took", time.Since(d.start).Round(time.Millisecond))
	return nil
}
