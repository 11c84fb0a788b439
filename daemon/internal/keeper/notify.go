package keeper

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// notifier is the socket of the sd_notify protocol of one instance.
type notifier struct{ conn *net.UnixConn }

func (n *notifier) close() { _ = n.conn.Close() }

// listenNotify binds the instance's notify socket, which only uid (and root) may
// write to, and reads it from then on. gid -1 leaves the group.
func (p *Process) listenNotify(uid, gid int) error {
	path := filepath.Join(p.client.runDir(p.id), "notify")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	n := &notifier{conn}
	if err := errors.Join(passCredentials(conn), os.Chmod(path, 0o600), chownIfRoot(path, uid, gid)); err != nil {
		n.close()
		return err
	}
	p.mu.Lock()
	p.notify = n
	p.mu.Unlock()
	if !p.client.spawn(func(ctx context.Context) { p.readNotify(ctx, n) }) {
		n.close()
		return errors.New("the daemon is ending")
	}
	return nil
}

func chownIfRoot(path string, uid, gid int) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, uid, gid)
}

func passCredentials(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}

// readNotify takes notes of READY=1 from processes of the instance, and drops all
// else, until the socket is closed. Descriptors that are sent along are dropped by
// the kernel: systemd-notify takes their end for the answer to its barrier.
func (p *Process) readNotify(ctx context.Context, n *notifier) {
	defer n.close()
	buf := make([]byte, 4096)
	control := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		size, csize, _, _, err := n.conn.ReadMsgUnix(buf, control)
		if err != nil {
			return // closed
		}
		pid, ok := senderPID(control[:csize])
		if !ok || !saysReady(buf[:size]) || isClosed(p.notified) {
			continue
		}
		if id, err := p.client.Owner(ctx, pid); err != nil || id != p.id {
			p.client.cfg.Log.Warn("a stranger said READY=1", "instance", p.id, "pid", pid)
			continue
		}
		p.mu.Lock()
		p.setNotified()
		p.mu.Unlock()
		p.noteNotified(ctx)
	}
}

// noteNotified tells a later daemon, which would wait for it in vain.
func (p *Process) noteNotified(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := p.Annotate(ctx, map[string]string{notifiedNote: "1"}); err != nil && ctx.Err() == nil {
		p.client.cfg.Log.Warn("cannot note that an instance is ready", "instance", p.id, "error", err)
	}
}

func senderPID(control []byte) (int, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, false
	}
	for i := range messages {
		if cred, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return int(cred.Pid), true
		}
	}
	return 0, false
}

func saysReady(message []byte) bool {
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		if string(line) == "READY=1" {
			return true
		}
	}
	return false
}
