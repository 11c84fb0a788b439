package supervisor

import (
	"fmt"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// stepPort is the step of start errors that are about a stranger on the port.
const stepPort = "port"

// dynamicPort tells whether the instance's port was chosen by us.
func (i *instance) dynamicPort() bool {
	l := i.launch.Spec.Listen
	return l.Mode == app.ListenPort && l.Port == 0
}

// choosePort gives the launch its port. A stranger listening on a dynamic one is
// left alone and another port taken, once.
func (i *instance) choosePort() *app.StartError {
	if i.launch.Spec.Listen.Mode != app.ListenPort {
		return nil
	}
	if i.launch.Port = i.launch.Spec.Listen.Port; i.launch.Port != 0 {
		if owner, busy := i.portOwner(); busy {
			return &app.StartError{Step: stepPort, Message: fmt.Sprintf(
				"its listen.port %d is in use by %s: stop that, or choose another port", i.launch.Port, owner)}
		}
		return nil
	}
	port, ok := i.ports.take(time.Now())
	if !ok {
		return &app.StartError{Step: "ports", Message: fmt.Sprintf(
			"every port of %d-%d is in use: give roostd a larger --port-range", i.ports.low, i.ports.high)}
	}
	i.launch.Port = port
	if owner, busy := i.portOwner(); busy {
		return &app.StartError{Step: stepPort, Message: fmt.Sprintf(
			"port %d, chosen for it, is in use by %s: keep others out of roostd's --port-range", port, owner)}
	}
	return nil
}

// portOwner tells who listens on the instance's port, where it has one.
func (i *instance) portOwner() (owner string, busy bool) {
	if i.launch.Port == 0 {
		return "", false
	}
	return i.cfg.Prober.PortOwner(i.launch.Port)
}

// adoptPort takes the port that a recovered instance has: only those that
// releasePort gives back, or nobody would get them again.
func (i *instance) adoptPort() {
	if i.dynamicPort() && i.launch.Port != 0 {
		i.ports.adopt(i.launch.Port)
	}
}

// releasePort gives a dynamic port back.
func (i *instance) releasePort() {
	if i.dynamicPort() && i.launch.Port != 0 {
		i.ports.release(i.launch.Port, time.Now())
	}
}
