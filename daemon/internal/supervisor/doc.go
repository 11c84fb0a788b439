// Package supervisor is the policy: what runs, from which generation, when it
// starts and stops. It does no I/O of its own; what it needs of the host are the
// interfaces in ports.go.
package supervisor
