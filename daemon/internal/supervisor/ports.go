package supervisor

import (
	"context"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// Launcher starts processes and finds them again. The keeper's client
// implements it.
type Launcher interface {
	// Launch starts a process and returns once its program runs. A
	// *app.StartError says what the host refused.
	Launch(ctx context.Context, l app.Launch) (Process, error)
	// Recover returns the processes of earlier daemons that still have a record,
	// ended ones included.
	Recover(ctx context.Context) ([]Process, error)
	// LimitLogs sets how much of an app's output is kept from now on.
	LimitLogs(ctx context.Context, name string, l app.Logs) error
	// ResolveDir returns dir with its links resolved; it must be a directory.
	ResolveDir(dir string) (string, error)
	// Check returns what only this host can say against a valid spec. Faults refuse
	// it; warnings, a missing command or an unknown user, do not: the start will
	// fail with them.
	Check(s app.Spec) (faults, warnings []app.Violation)
}

// Process is one launched process tree; the interface lies in package app, which
// those who implement it may import.
type Process = app.Process

// Prober decides readiness.
type Prober interface {
	// WaitReady returns the address the process is reached at once it is ready
	// ("" for listen.mode none), or why it will not be: a *app.StartError. It
	// gives up when ctx ends. It does not watch for the process's exit.
	WaitReady(ctx context.Context, p Process, l app.Launch) (address string, err error)
	// WarmUp has the process at address answer a request of start.warmup, and returns
	// the status: a *app.StartError where there is no answer before ctx ends.
	WarmUp(ctx context.Context, p Process, l app.Launch, address string) (status int, err error)
	// Check asks once whether a ready process still is. A nil error means yes.
	Check(ctx context.Context, p Process, l app.Launch, address string) error
	// RequestShutdown asks a process that was ready to end by itself, as the ASP.NET
	// Core Module does, and returns the status of the answer.
	RequestShutdown(ctx context.Context, p Process, l app.Launch, address string) (status int, err error)
	// PortFree tells whether an app could bind the port. It is quick.
	PortFree(port int) bool
	// PortOwner tells whether a process has the port, and which, for people.
	PortOwner(port int) (owner string, busy bool)
}

// Publisher hands endpoint sets to the proxies and tells what they made of them.
type Publisher interface {
	// Publish makes set the app's newest and returns its revision. Epoch and
	// Revision of the argument are ignored. Even an equal set gets a new
	// revision.
	Publish(set app.EndpointSet) uint64
	// Remove forgets an app's set.
	Remove(name string)
	// Current returns the app's newest set.
	Current(name string) (app.EndpointSet, bool)
	// Synced opens the stream to proxies: everything has been published once.
	Synced()
	// WaitApplied returns nil once every known proxy has the revision or a newer
	// one, or the app's removal.
	WaitApplied(ctx context.Context, name string, revision uint64) error
	// WaitDrained returns nil once every known proxy has the revision and nothing
	// in flight at the instance.
	WaitDrained(ctx context.Context, name string, id app.InstanceID, revision uint64) error
	// IdleSince tells since when no request has been in flight at any proxy;
	// false while one is, or while a known proxy is not connected.
	IdleSince(name string) (time.Time, bool)
	// InFlight sums the requests the proxies report at an instance.
	InFlight(name string, id app.InstanceID) int
	// HTTPSPort is the port of the known proxies' TLS listeners; 0 where they have
	// none, or several.
	HTTPSPort() int
	// Requests tells how many requests the proxies have led to an instance that
	// has been published.
	Requests(id app.InstanceID) uint64
	// Ended says that nothing is left of an instance.
	Ended(id app.InstanceID)
}

// Watcher watches the folders that apps run from. None of it blocks but Look,
// which reads a folder.
type Watcher interface {
	// Look returns the page that takes an app in this folder out of service; nil
	// where there is none.
	Look(dir string) *app.OfflinePage
	// Watch makes f what is watched for the app. What it shows comes by Changes,
	// counted anew.
	Watch(name string, f app.Folder)
	// Forget watches nothing for the app any more.
	Forget(name string)
	// Changes tells what folders show, the newest only where nobody took what came
	// before.
	Changes() <-chan app.FolderChange
}

// Recorder keeps what happened and reads back what an instance wrote.
type Recorder interface {
	// Record appends an event; it sets the time and the cursor. It never blocks
	// on a reader.
	Record(e app.Event)
	// OutputTail returns the end of what an instance wrote, at most max bytes,
	// both streams merged, the token redacted.
	OutputTail(name string, id app.InstanceID, max int) string
}

// Store keeps what is durable.
type Store interface {
	// Load returns every app and the counters that outlive them.
	Load() ([]app.Stored, error)
	// Save writes the given apps and removes the named ones in one transaction.
	// It is durable when it returns.
	Save(put []app.Stored, remove []string) error
	// NextGeneration returns the number that the app's next generation will
	// have; it outlives Save's removal of the app.
	NextGeneration(name string) (int64, error)
}
