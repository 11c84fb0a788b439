package keeper

import (
	"errors"
	"fmt"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/resolve"
)

// Check returns what only this host can say against a spec with defaults: a
// missing command, an unknown user. Fields are relative to the spec.
func (c *Client) Check(s app.Spec) []app.Violation {
	// As a start would, with an id, a port and a token of the right form.
	l := app.Launch{ID: app.InstanceID(strings.Repeat("a", 16)), Spec: s, Dir: s.Dir, Port: s.Listen.Port, Token: "token"}
	dir, err := resolve.Dir(s.Dir)
	if err != nil {
		return []app.Violation{{Field: "dir", Message: err.Error()}}
	}
	l.Dir = dir
	var violations []app.Violation
	if _, err := c.prepare(l); err != nil {
		violations = append(violations, app.Violation{Field: fieldOf(s, err), Message: err.Error()})
	}
	if s.Ready.Kind == app.ProbeExec && len(s.Ready.Command) > 0 && !strings.Contains(strings.Join(s.Ready.Command, ""), "$") {
		if _, err := resolve.Lookup(s.Ready.Command, dir, map[string]string{"PATH": c.cfg.Env["PATH"]}, nil); err != nil {
			violations = append(violations, app.Violation{Field: "ready.exec.command", Message: err.Error()})
		}
	}
	return violations
}

// fieldOf names the field of a spec that a start fails for.
func fieldOf(s app.Spec, err error) string {
	e, ok := errors.AsType[*app.StartError](err)
	if !ok {
		return "command"
	}
	switch {
	case e.Step == "user" && s.Group != "" && strings.HasPrefix(e.Message, "group "):
		return "group"
	case e.Step == "env" && strings.HasPrefix(e.Message, "env_files") || strings.HasPrefix(e.Message, "env file "):
		return "env_files"
	case e.Step == "env":
		name, _, ok := strings.Cut(strings.TrimPrefix(e.Message, "env."), ":")
		if _, known := s.Env[name]; ok && known {
			return fmt.Sprintf("env.%s", name)
		}
		return "env"
	case e.Step == "listen":
		return "listen.mode"
	case e.Step == "limit":
		return "umask"
	}
	return e.Step
}
