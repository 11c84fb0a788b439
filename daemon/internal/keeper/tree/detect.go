package tree

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
)

// The lanes' names, best first.
const (
	LaneV2      = "cgroup2"
	LaneFreezer = "freezer"
	LanePids    = "pids"
	LaneScan    = "scan"
)

// Detect returns the best lane that works here, or the one named by force. Its
// cgroups lie in a folder of their own below the keeper's cgroup, whose name
// tells the keepers of different state dirs apart.
func Detect(stateDir, force string) (Lane, error) {
	var why []error
	for _, name := range []string{LaneV2, LaneFreezer, LanePids} {
		if force != "" && force != name {
			continue
		}
		base, err := makeBase(name, stateDir)
		if err == nil {
			return newCgroupLane(name, base), nil
		}
		why = append(why, fmt.Errorf("%s: %w", name, err))
	}
	switch force {
	case "", LaneScan:
		return newScanLane(os.Getpid(), errors.Join(why...)), nil
	case LaneV2, LaneFreezer, LanePids:
		return nil, errors.Join(why...)
	}
	return nil, fmt.Errorf("no such lane: %s", force)
}

// base is the folder that the trees' cgroups are made in.
type base struct {
	dir        string
	path       string // as /proc/PID/cgroup has it
	controller string // of a v1 hierarchy, "" of v2
}

var errNoHierarchy = errors.New("no such hierarchy is mounted")

// makeBase makes roost-<hash of the state dir> below the keeper's own cgroup.
func makeBase(name, stateDir string) (base, error) {
	b, err := findBase(name, stateDir)
	if err != nil {
		return base{}, err
	}
	if err := os.Mkdir(b.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return base{}, err
	}
	if b.controller == "" {
		delegate(filepath.Dir(b.dir))
		delegate(b.dir)
	}
	return b, nil
}

// findBase tells where makeBase would make its folder, or why it could not. A
// lane's name is its v1 controller, LaneV2 excepted.
func findBase(name, stateDir string) (base, error) {
	controller := name
	if name == LaneV2 {
		controller = ""
	}
	mounts, err := proc.CgroupMounts()
	if err != nil {
		return base{}, err
	}
	own, err := proc.Cgroups(os.Getpid())
	if err != nil {
		return base{}, err
	}
	i := slices.IndexFunc(mounts, func(m proc.CgroupMount) bool {
		return m.Unified && controller == "" || !m.Unified && m.Has(controller)
	})
	path, member := own[controller]
	if i < 0 || !member {
		return base{}, errNoHierarchy
	}
	parent, ok := mounts[i].Dir(path)
	if !ok {
		return base{}, fmt.Errorf("the keeper's own cgroup %s lies outside of %s", path, mounts[i].Point)
	}
	// A process may be moved within parent only by who may write here.
	if err := unix.Access(filepath.Join(parent, "cgroup.procs"), unix.W_OK); err != nil {
		return base{}, fmt.Errorf("%s is not delegated: %w", parent, err)
	}
	folder := fmt.Sprintf("roost-%x", hash(stateDir))
	return base{dir: filepath.Join(parent, folder), path: filepath.Join(path, folder), controller: controller}, nil
}

func hash(stateDir string) []byte {
	sum := sha256.Sum256([]byte(stateDir))
	return sum[:6]
}

// delegate lets the children of a v2 cgroup have the controllers that limits
// need. Where that is refused, the limits say so when one is asked for.
func delegate(dir string) {
	for _, c := range []string{"memory", "cpu", "pids"} {
		_ = write(dir, "cgroup.subtree_control", "+"+c)
	}
}

// write sets a cgroup's file; it makes none.
func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
