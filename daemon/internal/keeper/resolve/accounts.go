// Package resolve finds out what a spec means on this host: who an app runs as,
// what its environment is, which program its command names. It starts nothing.
package resolve

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Accounts are the files that users and groups are looked up in, passwd(5) and
// group(5). The daemon is a static program, so it has no other source.
type Accounts struct {
	PasswdFile string
	GroupFile  string
}

// System are the accounts of this host.
var System = Accounts{PasswdFile: "/etc/passwd", GroupFile: "/etc/group"}

// User is an entry of passwd.
type User struct {
	Name  string
	UID   int
	GID   int
	Home  string
	Shell string
}

// Group is an entry of group.
type Group struct {
	Name    string
	GID     int
	Members []string
}

// ErrNoAccount is why there is no such user or group.
var ErrNoAccount = errors.New("no such account")

// User returns the user of a name, or else of a number.
func (a Accounts) User(name string) (User, error) {
	var byUID *User
	uid, numErr := strconv.ParseUint(name, 10, 31)
	var found *User
	err := eachEntry(a.PasswdFile, 7, func(f []string) bool {
		u, ok := parseUser(f)
		switch {
		case !ok:
		case u.Name == name:
			found = &u
			return false
		case numErr == nil && u.UID == int(uid) && byUID == nil:
			byUID = &u
		}
		return true
	})
	switch {
	case found != nil:
		return *found, nil
	case byUID != nil:
		return *byUID, nil
	case err != nil:
		return User{}, err
	}
	return User{}, fmt.Errorf("user %q: %w", name, ErrNoAccount)
}

func parseUser(f []string) (User, bool) {
	uid, err := strconv.ParseUint(f[2], 10, 31)
	gid, err2 := strconv.ParseUint(f[3], 10, 31)
	return User{Name: f[0], UID: int(uid), GID: int(gid), Home: f[5], Shell: f[6]}, err == nil && err2 == nil
}

// Group returns the group of a name, or else of a number.
func (a Accounts) Group(name string) (Group, error) {
	gid, numErr := strconv.ParseUint(name, 10, 31)
	var byName, byGID *Group
	err := a.eachGroup(func(g Group) {
		if g.Name == name && byName == nil {
			byName = &g
		}
		if numErr == nil && g.GID == int(gid) && byGID == nil {
			byGID = &g
		}
	})
	switch {
	case byName != nil:
		return *byName, nil
	case byGID != nil:
		return *byGID, nil
	case err != nil:
		return Group{}, err
	}
	return Group{}, fmt.Errorf("group %q: %w", name, ErrNoAccount)
}

// Groups returns exactly the groups that a log-in would give a user: the one in
// passwd, and those that list the user.
func (a Accounts) Groups(u User) ([]int, error) {
	gids := []int{u.GID}
	err := a.eachGroup(func(g Group) {
		if slices.Contains(g.Members, u.Name) && !slices.Contains(gids, g.GID) {
			gids = append(gids, g.GID)
		}
	})
	return gids, err
}

func (a Accounts) eachGroup(f func(Group)) error {
	return eachEntry(a.GroupFile, 4, func(fields []string) bool {
		gid, err := strconv.ParseUint(fields[2], 10, 31)
		if err == nil {
			f(Group{Name: fields[0], GID: int(gid), Members: strings.Split(fields[3], ",")})
		}
		return true
	})
}

// eachEntry calls f with each line's fields until it says false. Lines of another
// form are passed over, as the C library does.
func eachEntry(path string, fields int, f func([]string) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20) // a group may list thousands
	for lines.Scan() {
		if parts := strings.Split(lines.Text(), ":"); len(parts) == fields && parts[0] != "" {
			if !f(parts) {
				return nil
			}
		}
	}
	return lines.Err()
}
