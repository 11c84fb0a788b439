package keeper

import (
	"errors"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/resolve"
)

// Check returns what only this host can say against a spec with defaults. Faults
// refuse it, for no start could ever do with it: a socket's path that is too long,
// a secret in a command line. Warnings are what the host may still be given before
// a start: a missing command, an unknown user. Fields are relative to the spec.
func (c *Client) Check(s app.Spec) (faults, warnings []app.Violation) {
	warn := func(field string, err error) {
		warnings = append(warnings, app.Violation{Field: field, Message: err.Error()})
	}
	// As a start would, with an id, a port and a token of the right form.
	l := app.Launch{ID: app.InstanceID(strings.Repeat("a", 16)), Spec: s, Port: s.Listen.Port, Token: "token"}
	if err := c.checkSocketPath(l); err != nil && s.Listen.Mode == app.ListenUnix {
		faults = append(faults, app.Violation{Field: "listen.mode", Message: err.Error()})
	} else if err != nil {
		warn("ready.notify", err)
	}
	dir, err := resolve.Dir(s.Dir)
	if err != nil {
		warn("dir", err)
		return faults, warnings
	}
	l.Dir = dir
	id, err := c.host.Identity(s)
	if err != nil {
		warn(accountField(s, err), err)
		// What else is wrong does not depend on who runs it, but for what only the
		// user may read.
		l.Spec.User, l.Spec.Group, l.Spec.EnvFiles = "", "", nil
		if id, err = c.host.Identity(l.Spec); err != nil {
			return faults, warnings
		}
	}
	env, err := c.environment(l, id)
	if err != nil {
		warn(envField(s, err), err)
		return faults, warnings // without it no program is found
	}
	look := func(field string, argv []string) {
		_, err := resolve.Lookup(argv, dir, env.Values, env.SecretNames())
		if secret, ok := errors.AsType[*resolve.SecretError](err); ok {
			faults = append(faults, app.Violation{Field: field, Message: secret.Error()})
		} else if err != nil {
			warn(field, err)
		}
	}
	look("command", s.Command)
	if s.Ready.Kind == app.ProbeExec {
		look("ready.exec.command", s.Ready.Command)
	}
	return faults, warnings
}

// accountField names the field that has no account.
func accountField(s app.Spec, err error) string {
	if s.Group != "" && strings.HasPrefix(err.Error(), "group ") {
		return "group"
	}
	return "user"
}

// envField names the field that an environment cannot be made of.
func envField(s app.Spec, err error) string {
	if strings.HasPrefix(err.Error(), "env_files") || strings.HasPrefix(err.Error(), "env file ") {
		return "env_files"
	}
	name, _, ok := strings.Cut(strings.TrimPrefix(err.Error(), "env."), ":")
	if _, known := s.Env[name]; ok && known {
		return "env." + name
	}
	return "env"
}
