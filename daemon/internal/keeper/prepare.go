package keeper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/resolve"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// launchTimeout bounds a launch. It is far above what one takes: a keeper that is
// so slow hangs.
const launchTimeout = 30 * time.Second

// Launch starts a process and returns once its program runs. It does not end with
// ctx, which is only asked before it begins: a launch takes milliseconds, and who
// left it half-way would not know what it left behind. An error is a
// *app.StartError.
func (c *Client) Launch(ctx context.Context, l app.Launch) (*Process, error) {
	if err := errors.Join(c.wait(ctx), ctx.Err()); err != nil {
		return nil, &app.StartError{Step: "fork", Message: "the start was given up", Err: err}
	}
	prep, err := c.prepare(l)
	if err != nil {
		return nil, err
	}
	p := c.process(l.ID)
	p.expect(l.Token, l.Generation)
	record, err := c.launch(ctx, p, prep)
	if err != nil {
		p.closeNotify()
		c.drop(l.ID)
		c.removeRunDir(l.ID)
		return nil, err
	}
	p.apply(record)
	p.tellFault(prep.fault, "")
	return p, nil
}

func (c *Client) launch(ctx context.Context, p *Process, prep *prepared) (*keeperv1.Record, error) {
	if home, own := c.host.Home(prep.launch.Spec.Name, prep.identity); own {
		if err := c.host.MakeHome(home, prep.identity); err != nil {
			return nil, &app.StartError{Step: "env", Message: fmt.Sprintf("cannot make a home for the app: %v", err), Err: err}
		}
	}
	if err := c.makeSockets(p, prep); err != nil {
		return nil, &app.StartError{Step: "listen", Message: fmt.Sprintf("cannot make the folder for the app's sockets: %v", err), Err: err}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), launchTimeout)
	defer cancel()
	resp, err := c.rpc.Launch(ctx, prep.request)
	if err != nil {
		return c.launchLost(ctx, p, err)
	}
	if f := resp.GetFailure(); f != nil {
		return nil, prep.explain(f)
	}
	return resp.GetRecord(), nil
}

// prepared is a launch whose every question about the host is answered.
type prepared struct {
	launch   app.Launch
	identity resolve.Identity
	request  *keeperv1.LaunchRequest
	folder   bool   // it needs a folder for sockets
	notify   bool   // and a notify socket in it
	fault    string // why its output is not copied
}

func (c *Client) prepare(l app.Launch) (*prepared, error) {
	s := l.Spec
	id, err := c.host.Identity(s)
	if err != nil {
		return nil, &app.StartError{Step: "user", Message: err.Error(), Err: err}
	}
	prep := &prepared{launch: l, identity: id, notify: s.Ready.Kind == app.ProbeNotify}
	prep.folder = prep.notify || s.Listen.Mode == app.ListenUnix
	address := ""
	switch s.Listen.Mode {
	case app.ListenPort:
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Port))
	case app.ListenUnix:
		address = "unix:" + c.socketPath(l.ID)
	}
	if err := c.checkSocketPath(l); err != nil {
		return nil, &app.StartError{Step: "listen", Message: err.Error(), Err: err}
	}
	env, err := c.environment(l, id)
	if err != nil {
		return nil, &app.StartError{Step: "env", Message: err.Error(), Err: err}
	}
	secrets := env.SecretNames()
	command, err := resolve.Lookup(s.Command, l.Dir, env.Values, secrets)
	if err != nil {
		return nil, &app.StartError{Step: "command", Message: err.Error(), Err: err}
	}
	umask, err := parseUmask(s.Umask)
	if err != nil {
		return nil, &app.StartError{Step: "limit", Message: err.Error(), Err: err}
	}
	prep.request = &keeperv1.LaunchRequest{
		Instance: string(l.ID), App: s.Name, Generation: l.Generation,
		Path: command.Path, Argv: command.Argv, Env: env.List(), Dir: l.Dir,
		Credential: credentialMessage(id), Umask: umask,
		Nofile: uint64(max(s.Limits.NoFile, 0)), Memory: s.Limits.Memory, CpuMillis: s.Limits.CPUMillis, Pids: int64(s.Limits.Pids),
		StdoutFile: prep.stdoutFile(env), Logs: logLimits(s.Logs),
		ListenFd: s.Listen.Mode == app.ListenFD, Address: address, Token: l.Token, Annotations: prep.annotations(secrets),
	}
	return prep, nil
}

func parseUmask(s string) (uint32, error) {
	if s == "" {
		return 0o022, nil
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf("umask %q: want octal digits up to 777", s)
	}
	return uint32(n), nil
}

func credentialMessage(id resolve.Identity) *keeperv1.Credential {
	if !id.Switch {
		return nil
	}
	m := &keeperv1.Credential{Set: true, Uid: uint32(id.UID), Gid: uint32(id.GID)}
	for _, g := range id.Groups {
		m.Groups = append(m.Groups, uint32(g))
	}
	return m
}

func (p *prepared) annotations(secrets []string) map[string]string {
	notes := maps.Clone(p.launch.Notes)
	if notes == nil {
		notes = map[string]string{}
	}
	notes[secretsNote] = strings.Join(secrets, " ")
	if p.notify {
		notes[notifyNote] = "1"
	}
	if p.identity.Root {
		notes[conditionNote+app.CondRunsAsRoot] = "no user is named and there is no account for apps, so it runs as root: set user, or create the account of --app-user"
	}
	return notes
}

// environment is exactly what the contract with an app says.
func (c *Client) environment(l app.Launch, id resolve.Identity) (resolve.Env, error) {
	home, _ := c.host.Home(l.Spec.Name, id)
	base := maps.Clone(c.cfg.Env)
	if base == nil {
		base = map[string]string{}
	}
	if base["PATH"] == "" {
		base["PATH"] = "/usr/local/bin:/usr/bin:/bin"
	}
	shell := id.Shell
	if shell == "" {
		shell = "/bin/sh"
	}
	maps.Copy(base, map[string]string{"HOME": home, "USER": id.Name, "LOGNAME": id.Name, "SHELL": shell})
	own := c.ownVariables(l)
	files, err := c.envFiles(l, id, base, own)
	if err != nil {
		return resolve.Env{}, err
	}
	spec := l.WithoutModuleVariables(l.Spec.Env)
	files = l.WithoutModuleVariables(files)
	module, defaults := l.ModuleVariables(spec, files)
	maps.Copy(own, module)
	maps.Copy(base, defaults)
	env, err := resolve.Layers{Base: base, Files: files, Spec: spec, Own: own, OwnSecret: app.SecretVariables()}.Compose()
	if err == nil && l.Spec.Listen.Mode == app.ListenFD {
		delete(env.Values, "LISTEN_PID") // known only to roost-exec, which sets it
	}
	return env, err
}

func (c *Client) ownVariables(l app.Launch) map[string]string {
	own := map[string]string{
		"ROOST_APP": l.Spec.Name, "ROOST_INSTANCE": string(l.ID), "ROOST_RELEASE": l.Spec.Release,
		"ROOST_PATH_BASE": l.PathBase, "ROOST_TOKEN": l.Token,
	}
	switch l.Spec.Listen.Mode {
	case app.ListenPort:
		own["PORT"] = strconv.Itoa(l.Port)
	case app.ListenFD:
		own["LISTEN_FDS"], own["LISTEN_FDNAMES"] = "1", "http"
	case app.ListenUnix:
		own["ROOST_SOCKET"] = c.socketPath(l.ID)
	}
	if l.Spec.Ready.Kind == app.ProbeNotify {
		own["NOTIFY_SOCKET"] = filepath.Join(c.runDir(l.ID), "notify")
	}
	return own
}

// envFiles reads the env files with the rights of the app's user. A later one wins.
func (c *Client) envFiles(l app.Launch, id resolve.Identity, layers ...map[string]string) (map[string]string, error) {
	vars, secret := map[string]string{}, app.SecretVariables()
	for _, name := range l.Spec.EnvFiles {
		path, err := app.Expand(name, func(name string) (string, bool) {
			for _, layer := range slices.Backward(layers) {
				if v, ok := layer[name]; ok && !slices.Contains(secret, name) {
					return v, true
				}
			}
			return "", false
		})
		if err != nil {
			return nil, fmt.Errorf("env_files: %w", err)
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(l.Dir, path)
		}
		text, err := resolve.ReadAs(path, id)
		if err != nil {
			return nil, explainEnvFile(path, err, id)
		}
		more, err := resolve.ParseEnvFile(text)
		if err != nil {
			return nil, fmt.Errorf("env file %s: %w", path, err)
		}
		maps.Copy(vars, more)
	}
	return vars, nil
}

func explainEnvFile(path string, err error, id resolve.Identity) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("env file %s does not exist: create it, or correct env_files", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("env file %s: user %s may not read it: check its permissions and those of the folders above it", path, id.Name)
	}
	return fmt.Errorf("env file %s: %w", path, err)
}

// runDir is where an instance's sockets lie.
func (c *Client) runDir(id app.InstanceID) string {
	return filepath.Join(c.cfg.RunDir, "i", string(id))
}

func (c *Client) socketPath(id app.InstanceID) string { return filepath.Join(c.runDir(id), "s") }

// checkSocketPath refuses sockets that no address can name.
func (c *Client) checkSocketPath(l app.Launch) error {
	longest := ""
	if l.Spec.Listen.Mode == app.ListenUnix {
		longest = c.socketPath(l.ID)
	}
	if l.Spec.Ready.Kind == app.ProbeNotify {
		longest = filepath.Join(c.runDir(l.ID), "notify")
	}
	if len(longest) > maxSocketPath {
		return fmt.Errorf("the app's socket %s would have a path of %d bytes, and the kernel allows %d: start roostd with a --socket in a shorter folder", longest, len(longest), maxSocketPath)
	}
	return nil
}

// makeSockets makes the folder that the app's sockets lie in: the app's to write,
// the proxies' to pass through.
func (c *Client) makeSockets(p *Process, prep *prepared) error {
	if !prep.folder {
		return nil
	}
	dir := c.runDir(p.id)
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	gid := os.Getegid()
	if g, err := c.host.Accounts.Group(c.cfg.ProxyGroup); err == nil && os.Geteuid() == 0 {
		gid = g.GID
	}
	if err := chownIfRoot(dir, prep.identity.UID, gid); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o710|fs.ModeSetgid); err != nil { // after chown, which clears the bit
		return err
	}
	if !prep.notify {
		return nil
	}
	return p.listenNotify(prep.identity.UID, prep.identity.GID)
}

// explain says what a keeper's failure means.
func (p *prepared) explain(f *keeperv1.LaunchFailure) error {
	errno := syscall.Errno(f.GetErrno())
	e := &app.StartError{Step: "fork", Err: errno}
	what := f.GetDetail()
	if errno != 0 {
		what = strings.TrimSpace(f.GetDetail() + ": " + errno.Error())
	}
	switch f.GetStep() {
	case "exec":
		if errno == syscall.EPROTO {
			e.Step, e.Message = "exec", what+": install roostd and roost-exec of one version, and restart roostd"
			break
		}
		e.Step, e.Message = "exec", resolve.ExplainExec(p.request.GetPath(), errno, p.identity)
	case "dir":
		e.Step, e.Message = "dir", resolve.ExplainDir(p.request.GetDir(), errno, p.identity)
	case "user", "groups":
		e.Step, e.Message = "user", fmt.Sprintf("cannot become user %s (%s)", p.identity.Name, what)
	case "limit":
		e.Step, e.Message = "limit", fmt.Sprintf("limits.%s: lower it, or run roostd as root", what)
	case "socket":
		e.Step, e.Message = "listen", fmt.Sprintf("cannot make the app's listening socket (%s)", what)
	case "cgroup":
		e.Step, e.Message = "limit", fmt.Sprintf("cannot set up the app's cgroup (%s)", what)
	default:
		e.Message = fmt.Sprintf("cannot start a process: %s (%s)", f.GetStep(), what)
	}
	return e
}
