// Package supervisor is the policy: what runs, from which generation, when it
// starts and stops. It does no I/O of its own; what it needs of the host are the
// interfaces in ports.go.
//
// One goroutine takes every change of a spec (Supervisor.Run), one owns each app
// (controller), one follows each instance from its start to its end (instance).
// What to do about an app is decided by pure functions: plan.go, rollout.go and
// restart.go.
//
// Who waits for whom, so that nobody waits in a circle: an instance may wait for
// its controller, and the supervisor's goroutine may; a controller waits for
// nobody. What it orders of an instance lies in a slot that the newest order
// fills, and what takes time it has done by errands, whose results are events.
package supervisor
