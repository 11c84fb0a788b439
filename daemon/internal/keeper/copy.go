package keeper

import (
	"path/filepath"
	"time"

	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"github.com/roostd/roost/daemon/internal/keeper/resolve"
	"github.com/roostd/roost/daemon/internal/keeper/stdoutfile"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// copyPatience is how long an instance's end waits for the rest of the copy of its
// output. What takes longer goes on behind it.
const copyPatience = time.Second

// copyOutput has the output copied to the files that the launch asks for. All that
// can fail or take long about it is done by a task of its own.
func (l *launching) copyOutput() {
	i, s, want := l.instance, l.server, l.req.GetStdoutFile()
	if want.GetPrefix() == "" {
		return
	}
	logs := filepath.Join(s.cfg.LogDir, l.req.GetApp(), i.id)
	var segments [2]string
	for n, stream := range streams {
		segments[n] = pump.Files{Dir: logs, Stream: stream}.Segment()
	}
	user := identity(l.req.GetCredential())
	i.copy = stdoutfile.New(stdoutfile.Files{
		Prefix: want.GetPrefix(), MaxSize: want.GetMaxSize(), MaxFiles: int(want.GetMaxFiles()),
		Start: l.record.GetStartTime().AsTime(), PID: int(l.record.GetPid()),
		As: func(f func() error) error { return resolve.As(user, f) }, Open: s.copies,
	}, segments, i.copyFailed, s.cfg.Log.With("instance", i.id))
	for n, p := range i.pumps {
		p.OnMove(func(end int64) { i.copy.Moved(n, end) })
	}
	s.tasks.Go(func() { i.copy.Run(s.life) })
}

// identity is whose rights to files an instance has.
func identity(c *keeperv1.Credential) resolve.Identity {
	id := resolve.Identity{Switch: c.GetSet(), GID: int(c.GetGid())}
	id.UID = int(c.GetUid())
	for _, g := range c.GetGroups() {
		id.Groups = append(id.Groups, int(g))
	}
	return id
}

// copyFailed lets the daemon know, by the record.
func (i *instance) copyFailed(err error) {
	i.server.cfg.Log.Warn("cannot copy output", "instance", i.id, "error", err)
	i.do(i.server.life, func() {
		i.change(func(r *keeperv1.Record) { r.StdoutFault = err.Error() })
	})
}

// finishCopy waits until all output is copied, within reason.
func (i *instance) finishCopy() {
	if i.copy == nil {
		return
	}
	i.copy.Finish()
	t := time.NewTimer(copyPatience)
	defer t.Stop()
	select {
	case <-i.copy.Done():
	case <-t.C:
	}
}
