package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/proxy/internal/certs"
	"github.com/roostd/roost/proxy/internal/observe"
)

func TestFlags(t *testing.T) {
	t.Setenv("ROOST_PROXY_DRAIN_TIMEOUT", "5s")
	t.Setenv("ROOST_PROXY_LISTEN", "127.0.0.1:1,127.0.0.1:2")
	t.Setenv("ROOST_PROXY_TRUSTED_PROXIES", "10.0.0.0/8")
	t.Setenv("ROOST_PROXY_LISTEN_TLS", "127.0.0.1:0,127.0.0.1:3")
	t.Setenv("ROOST_PROXY_CERT_DIR", "/certs")
	t.Setenv("ROOST_PROXY_VERSION", "1.2") // as images name what is in them
	var f flags
	c := command(&f)
	c.InitDefaultVersionFlag()
	if err := c.ParseFlags([]string{"--trusted-proxies", "192.0.2.1", "--trusted-proxies=::/64", "--access-log-format", "combined"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fromEnvironment(c.Flags()), f.parse()); err != nil {
		t.Fatal(err)
	}
	if f.drainTimeout != 5*time.Second || len(f.listen) != 2 || f.accessLogFormat != observe.Combined {
		t.Errorf("%+v", f)
	}
	if len(f.trustedProxies) != 2 || f.trustedProxies[0].String() != "192.0.2.1/32" {
		t.Errorf("trusted %v, want those of the flag, which wins", f.trustedProxies)
	}
	if len(f.listenTLS) != 2 || f.certDir != "/certs" || f.config.clientAuth != certs.Request {
		t.Errorf("TLS: %+v", f.config)
	}
	for _, args := range [][]string{
		{"--trusted-proxies", "me"}, {"--drain-timeout", "-1s"}, {"--access-log-format", "xml"}, {"--log-format", "xml"},
		{"--log-level", "loud"}, {"--daemon", "localhost:1"}, {"--listen", ""}, {"--listen", "nonsense"}, {"--listen", ":80,[::1"}, {"--listen", ":70000"}, {"--listen", "127.0.0.1:"}, {"--state-dir", ""},
		{"--listen-tls", "nonsense"}, {"--listen-tls", ":8443"}, {"--cert-dir", "/x"}, {"--client-ca", "/x"}, {"--client-auth", "maybe"}, {"--client-auth", "require"},
	} {
		var f flags
		c := command(&f)
		if err := c.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		if err := f.parse(); err == nil || !strings.Contains(err.Error(), args[0]) {
			t.Errorf("%v: %v, want a fault that names the flag", args, err)
		}
	}
	t.Setenv("ROOST_PROXY_DRAIN_TIMEOUT", "soon")
	if err := fromEnvironment(command(&f).Flags()); err == nil || !strings.Contains(err.Error(), "ROOST_PROXY_DRAIN_TIMEOUT") {
		t.Errorf("%v, want a fault that names the variable", err)
	}
}

func TestCommand_Version(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		var out strings.Builder
		c := command(&flags{})
		c.SetOut(&out)
		c.SetArgs(args)
		if err := c.Execute(); err != nil || !strings.Contains(out.String(), version) {
			t.Errorf("%v: %q, %v", args, out.String(), err)
		}
	}
}
