// Package failpoint names the steps at which a test has the daemon die, as by
// kill -9. Only programs that are built with the tag failpoints have it: in all
// others Here does nothing and costs nothing.
package failpoint

// Point is a step: the daemon dies right there.
type Point string

// The points, in the order in which an app comes to them. A name is where the code
// is: "save" comes before what it names, "saved" after it.
const (
	Save   Point = "save"   // what an app should be is about to be written
	Commit Point = "commit" // it is, but for the transaction's end
	Saved  Point = "saved"  // it is durable, and nobody has acted on it
	Told   Point = "told"   // its controller has acted on it, and no caller knows

	Launch    Point = "launch"    // a process is about to be launched
	Launched  Point = "launched"  // it is there, and its controller does not know
	Ready     Point = "ready"     // it is ready, and nobody knows
	Published Point = "published" // the proxies know, its record does not
	Noted     Point = "noted"     // its record does, too

	Stopping Point = "stopping" // a process is about to be told to stop, and its record does not know
	Drain    Point = "drain"    // it does; requests are about to be waited for
	Signal   Point = "signal"   // its requests are finished
	Bury     Point = "bury"     // it has ended, or has had its time
	Gone     Point = "gone"     // nothing is left of it
	Account  Point = "account"  // its record says so, and its controller does not know

	Forget Point = "forget" // the record of an app that is removed is about to go
	Finish Point = "finish" // it is gone; the app is about to be forgotten

	Recovered  Point = "recovered"  // a starting daemon has found the processes, and done nothing
	Reconciled Point = "reconciled" // it has taken them over, and published nothing for the API

	Copied  Point = "copied"  // the copy of the state is written, and not in place
	Restore Point = "restore" // the damaged state is out of its place, and the copy not in it
)
