package resolve

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
)

// Env is an app's environment.
type Env struct {
	Values map[string]string
	// Secret are the variables that must not appear in a command line: the token,
	// what comes from env_files, and what was made of those.
	Secret map[string]bool
}

// Layers are what an environment is made of. A later one wins.
type Layers struct {
	Base  map[string]string // of the host and of the account
	Files map[string]string // of env_files: secret
	Spec  map[string]string // of env: what expands
	Own   map[string]string // Roost's
	// OwnSecret are the names in Own that are secret.
	OwnSecret []string
}

// Compose makes the environment. A value of env may name any other variable; its
// own name, as in PATH: /opt/bin:${PATH}, means the one that it replaces.
func (l Layers) Compose() (Env, error) {
	c := composer{layers: l, env: Env{Values: map[string]string{}, Secret: map[string]bool{}}, busy: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(l.Spec)) {
		if _, _, err := c.get(name); err != nil {
			return Env{}, err
		}
	}
	for _, layer := range []map[string]string{l.Base, l.Files, l.Own} {
		for name := range layer {
			if _, _, err := c.get(name); err != nil {
				return Env{}, err
			}
		}
	}
	return c.env, nil
}

type composer struct {
	layers Layers
	env    Env
	busy   map[string]bool // those being expanded
}

// get returns a variable of the environment and whether it is secret.
func (c *composer) get(name string) (value string, ok bool, err error) {
	if v, ok := c.env.Values[name]; ok {
		return v, true, nil
	}
	if v, ok := c.layers.Own[name]; ok {
		return c.set(name, v, slices.Contains(c.layers.OwnSecret, name)), true, nil
	}
	raw, ok := c.layers.Spec[name]
	if !ok || c.busy[name] {
		v, secret, ok := c.below(name)
		if ok && !c.busy[name] {
			c.set(name, v, secret)
		}
		return v, ok, nil
	}
	c.busy[name] = true
	defer delete(c.busy, name)
	value, secret, err := c.expand(name, raw)
	if err != nil {
		return "", false, err
	}
	return c.set(name, value, secret), true, nil
}

func (c *composer) set(name, value string, secret bool) string {
	c.env.Values[name] = value
	if secret {
		c.env.Secret[name] = true
	}
	return value
}

// below returns what a variable is without env.
func (c *composer) below(name string) (value string, secret, ok bool) {
	if v, ok := c.layers.Files[name]; ok {
		return v, true, true
	}
	v, ok := c.layers.Base[name]
	return v, false, ok
}

func (c *composer) expand(name, raw string) (value string, secret bool, err error) {
	var inner error
	value, err = app.Expand(raw, func(other string) (string, bool) {
		if other != name && c.busy[other] {
			inner = fmt.Errorf("env.%s and env.%s name each other", name, other)
			return "", true
		}
		v, ok, err := c.get(other)
		if err != nil {
			inner = err
		}
		if other == name {
			_, fromFile := c.layers.Files[name]
			secret = secret || fromFile
		}
		secret = secret || c.env.Secret[other]
		return v, ok || err != nil
	})
	if inner != nil {
		return "", false, inner
	}
	if err != nil {
		return "", false, fmt.Errorf("env.%s: %w", name, err)
	}
	return value, secret, nil
}

// SecretNames returns the names of the secret variables, sorted.
func (e Env) SecretNames() []string { return slices.Sorted(maps.Keys(e.Secret)) }

// List returns the environment as NAME=VALUE, sorted.
func (e Env) List() []string {
	list := make([]string, 0, len(e.Values))
	for _, name := range slices.Sorted(maps.Keys(e.Values)) {
		list = append(list, name+"="+e.Values[name])
	}
	return list
}

// Environ takes apart a list of NAME=VALUE.
func Environ(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, entry := range list {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}
