package spawn

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
)

// OrderOf is the order by which something is started like the process pid, which
// started at ticks: as its user, in its folder, with the environment that it was
// started with. It is for processes that another keeper has started, whose
// environment is nowhere but in them.
func OrderOf(pid int, ticks uint64) (Order, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	env, err := os.ReadFile(dir + "environ")
	errs := []error{err}
	cwd, err := os.Readlink(dir + "cwd")
	errs = append(errs, err)
	status, err := os.ReadFile(dir + "status")
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return Order{}, fmt.Errorf("cannot be asked how it was started: %w", err)
	}
	o := Order{Dir: cwd}
	for entry := range bytes.SplitSeq(env, []byte{0}) {
		if len(entry) > 0 {
			o.Env = append(o.Env, string(entry))
		}
	}
	if err := o.identify(string(status)); err != nil {
		return Order{}, err
	}
	var limit unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit) == nil && limit.Max < 1<<31 {
		o.NoFile = int(limit.Max)
	}
	// Now, so that nothing above was another's.
	if s, err := proc.ReadStat(pid); err != nil || s.StartTicks != ticks {
		return Order{}, os.ErrNotExist
	}
	return o, nil
}

// identify takes umask and, for root, identity from /proc/PID/status.
func (o *Order) identify(status string) error {
	c := &Credential{}
	var err error
	for line := range strings.Lines(status) {
		name, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		switch {
		case name == "Umask" && len(f) == 1:
			var mask uint64
			mask, err = strconv.ParseUint(f[0], 8, 32)
			o.Umask = int(mask)
		case name == "Uid" && len(f) == 4:
			c.UID, err = strconv.Atoi(f[1])
		case name == "Gid" && len(f) == 4:
			c.GID, err = strconv.Atoi(f[1])
		case name == "Groups":
			for _, text := range f {
				var gid int
				if gid, err = strconv.Atoi(text); err != nil {
					break
				}
				c.Groups = append(c.Groups, gid)
			}
		}
		if err != nil {
			return fmt.Errorf("/proc/PID/status: %s: %w", name, err)
		}
	}
	if os.Geteuid() == 0 {
		o.Credential = c
	}
	return nil
}
