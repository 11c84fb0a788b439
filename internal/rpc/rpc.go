// Package rpc holds what the programs must agree on to speak gRPC with one
// another over a unix socket: where the socket lies, how a client dials it, how
// a server serves, and what is said when nobody answers.
package rpc

import "time"

// MaxMessage bounds one message in bytes, in both directions. Snapshots come in
// chunks far below it; the specs of some thousand apps applied at once fit in.
const MaxMessage = 16 << 20

// The two ends of keep-alive. A client that pings more often than the server
// allows is cut off with "too_many_pings", and the server's default is once in
// five minutes, so the two are set beside each other.
const (
	pingEvery    = 30 * time.Second
	pingTimeout  = 10 * time.Second
	pingsAllowed = 10 * time.Second
)
