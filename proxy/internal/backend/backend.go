// Package backend holds what the proxy knows of the apps behind it: per app a
// pool of endpoints with their connections, and who is using them.
//
// Sets of endpoints come from the daemon through a Registry; requests claim an
// endpoint with Pool.Acquire. A claim is made under the pool's lock, all work
// is done outside it.
package backend

import (
	"time"
)

// Endpoint is the address of one ready or draining instance.
type Endpoint struct {
	// Instance is the id of the instance; it is never reused.
	Instance string
	// Generation is the version of the app's spec that the instance runs.
	Generation int64
	// Network is "tcp" or "unix".
	Network string
	// Address is host:port, or the path of the socket.
	Address string
	// Token pairs the proxy with the instance. It must not be logged.
	Token string
	// Draining endpoints finish what they have and get nothing new.
	Draining bool
	// Module has its requests carry what the ASP.NET Core Module of IIS sends.
	Module bool
}

// Policy is what an app's spec says about its requests.
type Policy struct {
	// Timeout bounds the app's silence.
	Timeout time.Duration
	// Queue bounds the requests that wait for an instance.
	Queue int
	// QueueTimeout bounds how long one waits.
	QueueTimeout time.Duration
	// MaxBody bounds a request body, in bytes; 0 is no limit.
	MaxBody int64
	// CloseWebSockets has open WebSockets closed at once on a drain; else
	// they may go on until its limit.
	CloseWebSockets bool
	// DetailedErrors shows an app's output and reasons in public answers.
	DetailedErrors bool
	// BareStartFailure leaves the answer to a failed start without a page.
	BareStartFailure bool
}

// Set is one revision of an app's endpoints.
type Set struct {
	App string
	// Epoch counts the daemon's starts, Revision the changes within one.
	Epoch, Revision uint64
	Policy          Policy
	Endpoints       []Endpoint
	// Offline is what every request gets of an app that is out of service with a
	// page; nil of one that is in service.
	Offline *Offline `json:",omitempty"`
}

// Offline is the page of an app that is out of service. Nobody changes it.
type Offline struct {
	// Page is HTML, byte for byte as it is to be sent. It may be empty.
	Page []byte
	// BuiltIn asks for the proxy's own page instead.
	BuiltIn bool
}

// Load is what a pool has to do, as reported to the daemon.
type Load struct {
	App             string
	Epoch, Revision uint64
	// InFlight counts open exchanges, upgraded connections among them.
	InFlight int
	// Queued counts requests that wait for an instance.
	Queued int
	// Requests counts all exchanges since the pool exists.
	Requests uint64
	// Instances has those of the current set, and dropped ones until their
	// last exchange has ended.
	Instances []InstanceLoad
}

// InstanceLoad is the share of one instance.
type InstanceLoad struct {
	ID       string
	InFlight int
	Requests uint64
}
