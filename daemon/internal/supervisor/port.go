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

// choosePort gives the launch its port. Dynamic ones that others have are passed
// over.
func (i *instance) choosePort() *app.StartError {
	if i.launch.Spec.Listen.Mode != app.ListenPort {
		return nil
	}
	if i.launch.Port = i.launch.Spec.Listen.Port; i.launch.Port == 0 {
		return i.chooseDynamicPort()
	}
	if owner, busy := i.portOwner(); busy {
		return &app.StartError{Step: stepPort, Message: fmt.Sprintf(
			"its listen.port %d is in use by %s: stop that, or choose another port", i.launch.Port, owner)}
	}
	return nil
}

// chooseDynamicPort takes the first port of the range that can be bound.
func (i *instance) chooseDynamicPort() *app.StartError {
	var taken []int // by strangers
	defer func() {
		for _, port := range taken {
			i.ports.release(port, time.Now())
		}
	}()
	for {
		port, ok := i.ports.take(time.Now())
		switch {
		case !ok:
			return i.noPort(taken)
		case i.cfg.Prober.PortFree(port):
			i.launch.Port = port
			return nil
		}
		taken = append(taken, port)
	}
}

// noPort is the error of a range without a free port, of which strangers have
// the given ones.
func (i *instance) noPort(taken []int) *app.StartError {
	why := "apps have them all: give roostd a larger --port-range"
	if n := len(taken); n > 0 {
		why = fmt.Sprintf("others than its apps have %d of them", n)
		if owner, busy := i.cfg.Prober.PortOwner(taken[n-1]); busy {
			why += fmt.Sprintf(" (port %d: %s)", taken[n-1], owner)
		}
		why += ": keep them out of roostd's --port-range, or give it another one"
	}
	return &app.StartError{Step: "ports", Message: fmt.Sprintf("no port of %d-%d is free, %s", i.ports.low, i.ports.high, why)}
}

// portOwner tells who else has the instance's port, where it has one.
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
