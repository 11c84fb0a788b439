package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
)

// localPorts is where the kernel says which ports it gives to outgoing connections.
const localPorts = "/proc/sys/net/ipv4/ip_local_port_range"

// warnOfOverlap warns where outgoing connections may take apps' ports: those are
// passed over, but one may be taken between its choice and the app's bind. path is
// localPorts.
func warnOfOverlap(path string, low, high int, log hclog.Logger) {
	b, err := os.ReadFile(path)
	if err != nil {
		return // a container may hide it
	}
	var from, to int
	if _, err := fmt.Sscan(string(b), &from, &to); err != nil || from > high || to < low {
		return
	}
	log.Warn("outgoing connections may take apps' ports: choose --port-range apart from net.ipv4.ip_local_port_range",
		"port_range", fmt.Sprintf("%d-%d", low, high), "ip_local_port_range", fmt.Sprintf("%d-%d", from, to))
}
