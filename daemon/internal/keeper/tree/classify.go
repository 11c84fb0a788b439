package tree

import (
	"strings"

	"github.com/roostd/roost/daemon/internal/keeper/proc"
)

// classifier ascribes the processes of one look at /proc to trees, by the rule of
// scanLane.
type classifier struct {
	stats    map[int]proc.Stat
	keeper   int
	trees    map[string]*scanTree
	leaders  map[int]string // pid of a leader, which is its session and group too, to tree
	known    map[int]string // pid of who was seen in a tree before
	done     map[int]string // the answers, "" for none
	orphans  map[int]bool   // below the keeper, of no tree
	anyFound bool           // a tree is of an earlier keeper
	environ  func(pid int, name string) (string, error)
	uid      func(pid int) (int, error)
	scarcity error // what kept it from telling: the answers are worth nothing
}

func newClassifier(all []proc.Stat, keeper int, trees map[string]*scanTree) *classifier {
	c := &classifier{
		stats: make(map[int]proc.Stat, len(all)), keeper: keeper, trees: trees,
		leaders: map[int]string{}, known: map[int]string{}, done: map[int]string{}, orphans: map[int]bool{},
		environ: proc.Environ, uid: proc.UID,
	}
	for _, s := range all {
		c.stats[s.PID] = s
	}
	for id, t := range trees {
		c.anyFound = c.anyFound || t.found
		if c.leads(t) {
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

// leads tells whether a leader's number is still a sign of its tree. A session or
// group keeps it from being given away, but once they were empty it can be a
// stranger's. The keeper that reaps a leader looks at once; one that came later
// cannot know how long the leader has been dead.
func (c *classifier) leads(t *scanTree) bool {
	s, there := c.stats[t.leader.PID]
	if there {
		return s.StartTicks == t.leader.Ticks
	}
	return t.leader.PID != 0 && !t.found
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
		if id != "" || !c.anyFound {
			return id
		}
	}
	if id, err := c.environ(s.PID, InstanceVariable); c.told(err) {
		if t := c.trees[id]; t != nil && (s.PPID == c.keeper || t.found) && c.mayBeOf(s, t) {
			return id
		}
	}
	if s.PPID != c.keeper {
		return ""
	}
	id, ok := c.only(s)
	c.orphans[s.PID] = !ok
	return id
}

// mayBeOf tells whether a process runs as the user of a tree, or the tree is of root,
// who may have become anybody: what is in its environment anybody can put there, to
// have another user's instance killed for its memory, or to escape the end of its own.
func (c *classifier) mayBeOf(s proc.Stat, t *scanTree) bool {
	uid, err := c.uid(s.PID)
	return c.told(err) && (t.leader.UID == uid || t.leader.UID == 0)
}

// told tells whether a question was answered.
func (c *classifier) told(err error) bool {
	if proc.Scarce(err) {
		c.scarcity = err
	}
	return err == nil
}

// only returns the one tree that can have left an orphan that bears no sign: the
// only one of its user, or of root, who may have become that user. While a tree
// has no leader yet, the orphan may be what becomes that.
func (c *classifier) only(s proc.Stat) (string, bool) {
	if s.Dead() {
		return "", false
	}
	uid, err := c.uid(s.PID)
	if !c.told(err) {
		return "", false
	}
	found := ""
	for id, t := range c.trees {
		switch {
		case t.found: // what it leaves comes down to others
		case t.leader.PID == 0:
			return "", false
		case t.leader.UID != uid && t.leader.UID != 0 || strings.Contains(id, "/"): // a probe's is within its instance's
		case found != "":
			return "", false
		default:
			found = id
		}
	}
	return found, found != ""
}
