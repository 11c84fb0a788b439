package resolve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/roostd/roost/daemon/internal/app"
)

// Host is what a spec is resolved against.
type Host struct {
	Accounts Accounts
	StateDir string
	AppUser  string            // who runs apps that name nobody, under a root daemon
	Base     map[string]string // what comes from the daemon's environment: PATH, LANG, TZ, TMPDIR
	UID, GID int               // the daemon's own
}

// Identity is who an app runs as.
type Identity struct {
	User
	GID    int   // of the process, which group: may set
	Groups []int // all of them
	Switch bool  // the keeper must change to it
	// Root says that nobody asked for root and that it is root all the same.
	Root bool
}

// Identity returns who an app with this spec runs as.
func (h Host) Identity(s app.Spec) (Identity, error) {
	u, implied, err := h.user(s.User)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{User: u, GID: u.GID, Root: implied && u.UID == 0, Switch: h.UID == 0}
	if s.Group != "" {
		g, err := h.Accounts.Group(s.Group)
		if err != nil {
			return Identity{}, explainAccount("group", s.Group, err)
		}
		id.GID, id.Groups = g.GID, []int{g.GID}
	} else if id.Groups, err = h.Accounts.Groups(u); err != nil {
		return Identity{}, err
	}
	if h.UID == 0 {
		return id, nil
	}
	if id.UID != h.UID {
		return Identity{}, fmt.Errorf("user %s: this daemon is no root daemon and runs apps as uid %d only: leave user out", s.User, h.UID)
	}
	if s.Group != "" && id.GID != h.GID {
		return Identity{}, fmt.Errorf("group %s: this daemon is no root daemon and runs apps with gid %d only: leave group out", s.Group, h.GID)
	}
	return id, nil
}

// user returns the account; implied tells that no spec named it.
func (h Host) user(name string) (u User, implied bool, err error) {
	if name != "" {
		u, err := h.Accounts.User(name)
		return u, false, explainAccount("user", name, err)
	}
	if h.UID == 0 && h.AppUser != "" {
		u, err := h.Accounts.User(h.AppUser)
		if !errors.Is(err, ErrNoAccount) {
			return u, true, err
		}
	}
	number := fmt.Sprint(h.UID)
	u, err = h.Accounts.User(number)
	if errors.Is(err, ErrNoAccount) {
		// In a container, often: a uid without an entry.
		u, err = User{Name: number, UID: h.UID, GID: h.GID}, nil
	}
	return u, true, err
}

func explainAccount(kind, name string, err error) error {
	if errors.Is(err, ErrNoAccount) {
		return fmt.Errorf("%s %q does not exist on this host: create it, or name another", kind, name)
	}
	return err
}

// Home returns the app's home: the account's, or where that cannot be used one
// below the state dir, which MakeHome makes.
func (h Host) Home(name string, id Identity) (home string, own bool) {
	if usable(id.Home, id) {
		return id.Home, false
	}
	return filepath.Join(h.StateDir, "apps", name, "home"), true
}

// MakeHome makes a home below the state dir.
func (h Host) MakeHome(home string, id Identity) error {
	// The way there is open to be passed through; who looks into it is the user.
	for _, dir := range []string{filepath.Dir(filepath.Dir(home)), filepath.Dir(home)} {
		if err := makeDir(dir, 0o711); err != nil {
			return err
		}
	}
	if err := makeDir(home, 0o700); err != nil {
		return err
	}
	if id.Switch {
		return os.Lchown(home, id.UID, id.GID)
	}
	return nil
}

// makeDir makes a folder whose permissions do not depend on the umask.
func makeDir(dir string, perm fs.FileMode) error {
	if err := os.Mkdir(dir, perm); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chmod(dir, perm)
}

// usable tells whether a home is a folder that its user may enter.
func usable(home string, id Identity) bool {
	info, err := os.Stat(home)
	return filepath.IsAbs(home) && err == nil && info.IsDir() && mayEnter(info, id)
}
