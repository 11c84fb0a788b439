package keeper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
	"github.com/roostd/roost/daemon/internal/keeper/spawn"
	"github.com/roostd/roost/daemon/internal/keeper/tree"
)

// probePrefix begins the name of a probe's tree, and of the file in the instance's
// folder that says it runs: NAME.PID.TICKS. Of a keeper that dies the next one finds
// it so, and ends the probe, which would go on for as long as its instance.
const probePrefix = "probe"

// noteProbe says that a probe runs, until done is called.
func (i *instance) noteProbe(name string, child *spawn.Child) (done func()) {
	path := filepath.Join(i.dir, fmt.Sprintf("%s.%d.%d", name, child.PID, child.Ticks))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		i.server.cfg.Log.Warn("a probe would outlive this keeper", "instance", i.id, "error", err)
	}
	return func() { _ = os.Remove(path) }
}

// endProbes ends the probes that an earlier keeper ran beside an instance.
func (i *instance) endProbes(ctx context.Context) {
	files, _ := filepath.Glob(filepath.Join(i.dir, probePrefix+"*.*.*"))
	for _, path := range files {
		name, ids, _ := strings.Cut(filepath.Base(path), ".")
		leader := tree.Leader{UID: i.uid}
		if _, err := fmt.Sscanf(ids, "%d.%d", &leader.PID, &leader.Ticks); err != nil {
			continue
		}
		if err := i.endProbe(ctx, name, leader); err != nil {
			i.server.cfg.Log.Warn("cannot end a probe of an earlier keeper", "instance", i.id, "pid", leader.PID, "error", err)
			continue
		}
		_ = os.Remove(path)
	}
}

func (i *instance) endProbe(ctx context.Context, name string, leader tree.Leader) error {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t, err := i.tree.Sub(name)
	if err != nil {
		return err
	}
	defer func() { _ = t.Remove() }()
	h, err := proc.Open(leader.PID, leader.Ticks)
	switch {
	case err == nil:
		h.Close()
		t.Lead(leader)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return t.Kill(ctx)
}
