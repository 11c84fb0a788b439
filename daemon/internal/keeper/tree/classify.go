package tree

import "github.com/roostd/roost/daemon/internal/keeper/proc"

// classifier ascribes the processes of one look at /proc to trees, by the rule of
// scanLane.
type classifier struct {
	stats   map[int]proc.Stat
	keeper  int
	trees   map[string]*scanTree
	leaders map[int]string // pid of a leader, which is its session and group too, to tree
	known   map[int]string // pid of who was seen in a tree before
	done    map[int]string // the answers, "" for none
	orphans map[int]bool   // below the keeper, of no tree
	// everywhere asks the environment of all, not of the keeper's own children only.
	everywhere bool
	environ    func(pid int, name string) (string, bool)
}

func newClassifier(all []proc.Stat, keeper int, trees map[string]*scanTree) *classifier {
	c := &classifier{
		stats: make(map[int]proc.Stat, len(all)), keeper: keeper, trees: trees,
		leaders: map[int]string{}, known: map[int]string{}, done: map[int]string{}, orphans: map[int]bool{},
		environ: proc.Environ,
	}
	for _, s := range all {
		c.stats[s.PID] = s
	}
	for id, t := range trees {
		if t.leader.PID != 0 {
			c.leaders[t.leader.PID] = id
		}
		for pid, ticks := range t.known {
			if c.stats[pid].StartTicks == ticks {
				c.known[pid] = id
			}
		}
	}
	return c
}

// classify returns the tree of a process, "" for none.
func (c *classifier) classify(pid int) string {
	if id, ok := c.done[pid]; ok {
		return id
	}
	c.done[pid] = "" // a loop of parents cannot be, but must not hang us
	id := c.find(c.stats[pid])
	c.done[pid] = id
	return id
}

func (c *classifier) find(s proc.Stat) string {
	if id, ok := c.known[s.PID]; ok {
		return id
	}
	// A session or group keeps its leader's number from being given away.
	if id, ok := c.leaders[s.SID]; ok {
		return id
	}
	if id, ok := c.leaders[s.PGID]; ok {
		return id
	}
	switch {
	case s.PPID == 0 || s.PID == c.keeper:
		return ""
	case s.PPID != c.keeper:
		id := c.classify(s.PPID)
		c.orphans[s.PID] = id == "" && c.orphans[s.PPID]
		if id != "" || !c.everywhere {
			return id
		}
	}
	if id, ok := c.environ(s.PID, InstanceVariable); ok && c.trees[id] != nil {
		return id
	}
	c.orphans[s.PID] = s.PPID == c.keeper
	return ""
}
