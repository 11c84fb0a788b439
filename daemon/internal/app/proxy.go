package app

import "time"

// Proxy is a proxy that has registered and not said goodbye.
type Proxy struct {
	ID        string
	Version   string
	PID       int
	StartTime uint64 // field 22 of /proc/PID/stat: with the pid it names the process
	Listeners []ProxyListener
	LastSeen  time.Time
	Connected bool
}

// ProxyListener is an address that a proxy serves.
type ProxyListener struct {
	TLS  bool
	Port int
}
