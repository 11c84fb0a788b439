package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/proxy/internal/certs"
	"github.com/roostd/roost/proxy/internal/discovery"
)

// listener is an address that is served.
type listener struct {
	net.Listener
	tls *tls.Config // nil: in clear text
}

func (l listener) kind() string {
	if l.tls != nil {
		return "https"
	}
	return "http"
}

// secure is how TLS is served; all is nil where it is not.
func (c config) secure() (*certs.Store, *tls.Config, error) {
	if len(c.listenTLS) == 0 {
		return nil, nil, nil
	}
	var cas *x509.CertPool
	if c.clientCA != "" {
		var err error
		if cas, err = certs.ReadCAs(c.clientCA); err != nil {
			return nil, nil, fmt.Errorf("--client-ca: %w", err)
		}
		if c.clientAuth != certs.Require {
			c.log.Warn("nothing is verified against --client-ca: that is for --client-auth require", "client_auth", string(c.clientAuth))
		}
	}
	store, err := certs.New(c.certDir, c.log)
	if err != nil {
		return nil, nil, fmt.Errorf("--cert-dir: %w", err)
	}
	return store, store.Config(c.clientAuth, cas), nil
}

// listenAll opens all addresses, or none.
func (c config) listenAll(secure *tls.Config) ([]listener, error) {
	var listeners []listener
	open := func(flag string, addresses []string, tls *tls.Config) error {
		for _, address := range addresses {
			l, err := listen(address)
			if err != nil {
				return fmt.Errorf("%s %s: %w", flag, address, err)
			}
			listeners = append(listeners, listener{l, tls})
		}
		return nil
	}
	err := open("--listen", c.listen, nil)
	if err == nil {
		err = open("--listen-tls", c.listenTLS, secure)
	}
	if err != nil {
		closeAll(listeners)
		return nil, err
	}
	return listeners, nil
}

func listen(address string) (net.Listener, error) {
	// Keep-alive is set once for a listener, whose connections inherit it: set by
	// package net it costs each of them four system calls.
	c := net.ListenConfig{KeepAlive: -1, Control: keepAlive}
	c.SetMultipathTCP(false)
	return c.Listen(context.Background(), "tcp", address)
}

// A client that has vanished is noticed after a minute or two, even where the
// proxy has nothing to send it.
const (
	keepAliveIdle     = 60 // seconds
	keepAliveInterval = 15 // seconds
	keepAliveProbes   = 4
)

func keepAlive(_, _ string, c syscall.RawConn) error {
	var err error
	control := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
			unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_KEEPIDLE, keepAliveIdle),
			unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_KEEPINTVL, keepAliveInterval),
			unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_KEEPCNT, keepAliveProbes),
		)
	})
	return cmp.Or(control, err)
}

func closeAll(listeners []listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// ports is what the daemon is told of the listeners.
func ports(listeners []listener) []discovery.Listener {
	var told []discovery.Listener
	for _, l := range listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			told = append(told, discovery.Listener{TLS: l.tls != nil, Port: a.Port})
		}
	}
	return told
}

// httpsPort is where requests in clear text can be sent to.
func httpsPort(listeners []listener) string {
	for _, l := range ports(listeners) {
		if l.TLS {
			return strconv.Itoa(l.Port)
		}
	}
	return ""
}
