package probe

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/probe/sockdiag"
)

// unixSocket waits until the instance listens on its unix socket (listen.mode
// unix), and then lets the proxy in.
type unixSocket struct{ *target }

func (s *unixSocket) wait(ctx context.Context) error {
	return poll(ctx, s.socketPace(), s.try)
}

func (s *unixSocket) try(ctx context.Context) (bool, error) {
	path, ok := unixPath(s.info.Address)
	if !ok {
		return false, &app.StartError{Step: "listen", Message: fmt.Sprintf("%q is no address of a unix socket", s.info.Address)}
	}
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return false, nil
	}
	all, err := s.net.UnixListeners()
	if err != nil {
		return false, err
	}
	for _, k := range all {
		if !isAt(k, path, &st) {
			continue
		}
		uid := k.UID
		if !k.HasUID {
			uid = st.Uid // who made the socket owns its name
		}
		who, _, err := s.owner(ctx, k.Inode, uid)
		if err != nil {
			return false, err
		}
		if who != ours {
			continue
		}
		if err := openTo(path, st.Ino, s.cfg.ProxyGID); err != nil {
			return false, err
		}
		s.address = s.info.Address
		return true, nil
	}
	return false, nil
}

func (s *unixSocket) missing(ctx context.Context) string {
	path, _ := unixPath(s.info.Address)
	message := fmt.Sprintf("the app does not listen on the unix socket %s", path)
	if where := s.elsewhere(ctx); where != "" {
		return fmt.Sprintf("%s, it listens on %s instead: make it use the path given in $ROOST_SOCKET", message, where)
	}
	return message + ": make it listen on the path given in $ROOST_SOCKET, or give it more time with start.timeout"
}

// isAt tells whether the socket is bound to path, which st is of: by the name,
// or by the file where the app used a relative path or one through a link.
func isAt(k sockdiag.UnixSocket, path string, st *unix.Stat_t) bool {
	if k.Name == path {
		return true
	}
	return k.File != 0 && k.File == uint32(st.Ino) && filepath.Base(k.Name) == filepath.Base(path)
}

// openTo makes the socket at path 0660 for the group; a negative one leaves the
// group. The app may put anything at path at any moment, so this goes through a
// descriptor of the very file that was looked at, links not followed.
func openTo(path string, ino uint64, gid int) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the socket %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at the socket %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Ino != ino {
		return fmt.Errorf("%s was replaced while its owner was looked up", path)
	}
	if gid >= 0 && st.Gid != uint32(gid) {
		if err := unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("give the socket %s to group %d: %w", path, gid, err)
		}
	}
	if st.Mode&0o777 == 0o660 {
		return nil
	}
	// A descriptor with O_PATH refuses fchmod; its link in /proc takes chmod.
	err = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o660)
	if errors.Is(err, unix.ENOENT) {
		err = errors.New("/proc is not mounted")
	}
	if err != nil {
		return fmt.Errorf("make the socket %s 0660: %w", path, err)
	}
	return nil
}
