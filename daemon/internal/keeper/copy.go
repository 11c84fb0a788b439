package keeper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/roostd/roost/daemon/internal/keeper/pump"
	"github.com/roostd/roost/daemon/internal/keeper/resolve"
	"github.com/roostd/roost/daemon/internal/keeper/stdoutfile"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// copyPatience is how long an instance's end waits for the rest of the copy of its
// output. What takes longer goes on behind it.
const copyPatience = time.Second

// journalName is the file in an instance's folder that says how far the copy is.
const journalName = "stdout_file"

// recordedCopy is what a record says of the copy that a launch asks for.
func recordedCopy(r *keeperv1.LaunchRequest) *keeperv1.StdoutFile {
	if r.GetStdoutFile().GetPrefix() == "" {
		return nil
	}
	f := proto.CloneOf(r.GetStdoutFile())
	f.Credential = r.GetCredential()
	return f
}

// copyOutput has the output copied to the files that the record tells of. All that
// can fail or take long about it is done by a task of its own. With resume it goes
// on where an earlier keeper has ended; what that one left undone comes by streams.
func (s *server) copyOutput(i *instance, r *keeperv1.Record, resume bool) {
	want, journal := r.GetStdoutFile(), filepath.Join(i.dir, journalName)
	if want == nil {
		return
	}
	if _, err := os.Lstat(journal); resume && r.GetStdoutFault() != "" && errors.Is(err, fs.ErrNotExist) {
		return // it was given up, and told
	}
	logs := filepath.Join(s.cfg.LogDir, r.GetApp(), i.id)
	var from [2]pump.Files
	for n, stream := range streams {
		from[n] = pump.Files{Dir: logs, Stream: stream}
	}
	user := identity(want.GetCredential())
	i.copy = stdoutfile.New(stdoutfile.Files{
		Prefix: want.GetPrefix(), MaxSize: want.GetMaxSize(), MaxFiles: int(want.GetMaxFiles()),
		Start: r.GetStartTime().AsTime(), PID: int(r.GetPid()),
		As: func(f func() error) error { return resolve.As(user, f) }, Open: s.copies,
		Journal: journal, Resume: resume,
	}, from, i.copyFailed, s.cfg.Log.With("instance", i.id))
	for _, p := range i.pumps {
		n := slices.Index(streams, p.Stream())
		if resume && p.End() > 0 {
			i.copy.Moved(n, p.End()) // as far as it was not copied yet
		}
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
