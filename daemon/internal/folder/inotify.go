package folder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// pathEvents are what may make a path lead elsewhere.
	pathEvents = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR | unix.IN_MASK_ADD
	// fileEvents are what may make a file in a folder another one. A write counts
	// when the file is closed.
	fileEvents = pathEvents | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE
)

// maxTries bounds how often a look begins anew because what it looks at changes.
const maxTries = 5

// target is a folder to be watched, and the names in it that matter.
type target struct {
	path   string
	events uint32
	names  func(name string) bool
	must   bool // it is the app's, not one above
}

// holder is who wants to know what happens in a folder.
type holder struct {
	who   *watched
	names func(name string) bool
}

// inotify is the kernel's descriptor, and who wants what of it.
type inotify struct {
	file *os.File
	fd   int // of file, for what is not I/O

	mu      sync.Mutex
	holders map[int][]holder   // by watch; a list is replaced, never changed
	held    map[*watched][]int // the watches that it is a holder of
}

func newInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return &inotify{file: os.NewFile(uintptr(fd), "inotify"), fd: fd, holders: map[int][]holder{}, held: map[*watched][]int{}}, nil
}

// why says for people why there are no watches.
func why(err error) string {
	switch {
	case errors.Is(err, unix.EMFILE):
		return "no inotify instance is left: raise fs.inotify.max_user_instances"
	case errors.Is(err, unix.ENOSPC):
		return "no inotify watch is left: raise fs.inotify.max_user_watches"
	}
	return err.Error()
}

// watch makes targets all that who is told of, and returns once that is so. The
// error says why there must be polled. With same they are those of the last time:
// most looks find the watches as they were.
func (k *inotify) watch(who *watched, targets []target, same bool) error {
	for try := 0; ; try++ {
		wds, err := k.add(targets)
		if same && k.holds(who, wds) {
			return err
		}
		k.hold(who, targets, wds)
		// What happened before we held them is not told: a path that leads elsewhere
		// since then would stay unwatched.
		again, _ := k.add(targets)
		if slices.Equal(wds, again) {
			return err
		}
		if try == maxTries { // it changes faster than we look
			who.poke()
			return err
		}
	}
}

// add asks the kernel for watches; -1 stands for one that there is none of.
func (k *inotify) add(targets []target) (wds []int, fault error) {
	for _, t := range targets {
		wd, err := unix.InotifyAddWatch(k.fd, t.path, t.events)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), !t.must && errors.Is(err, unix.EACCES):
			wd = -1 // what is above tells when it comes
		default:
			wd, fault = -1, fmt.Errorf("watching %s: %w", t.path, err)
		}
		wds = append(wds, wd)
	}
	return wds, fault
}

// holds tells whether these watches are those that who is told of.
func (k *inotify) holds(who *watched, wds []int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Equal(k.held[who], wds)
}

// hold notes what who is told of from now on, and gives up what nobody is.
func (k *inotify) hold(who *watched, targets []target, wds []int) {
	var free []int
	k.mu.Lock()
	for _, wd := range k.held[who] {
		list, ok := k.holders[wd]
		if !ok { // the kernel has ended it, or it is held twice
			continue
		}
		list = slices.DeleteFunc(slices.Clone(list), func(h holder) bool { return h.who == who })
		k.holders[wd] = list
		if len(list) == 0 && !slices.Contains(wds, wd) {
			delete(k.holders, wd)
			free = append(free, wd)
		}
	}
	for i, wd := range wds {
		if wd >= 0 {
			k.holders[wd] = append(k.holders[wd], holder{who, targets[i].names})
		}
	}
	k.held[who] = wds
	if len(wds) == 0 {
		delete(k.held, who)
	}
	k.mu.Unlock()
	for _, wd := range free {
		// Who has asked for it meanwhile is told that it is gone. That it is already
		// is no fault.
		_, _ = unix.InotifyRmWatch(k.fd, uint32(wd))
	}
}

// read wakes whom an event concerns, until the descriptor is closed.
func (k *inotify) read() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := k.file.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("inotify: %w", err)
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			rest = k.event(rest)
		}
	}
}

// event handles the first event in b and returns the others.
func (k *inotify) event(b []byte) []byte {
	wd := int(int32(binary.NativeEndian.Uint32(b)))
	mask := binary.NativeEndian.Uint32(b[4:])
	end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
	name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:end])

	k.mu.Lock()
	list := k.holders[wd]
	switch {
	case mask&unix.IN_Q_OVERFLOW != 0: // whatever happened
		list = nil
		for _, l := range k.holders {
			list = append(list, l...)
		}
		name = ""
	case mask&unix.IN_IGNORED != 0:
		delete(k.holders, wd)
	}
	k.mu.Unlock()
	for _, h := range list {
		if name == "" || h.names(name) {
			h.who.poke()
		}
	}
	return b[end:]
}

func (k *inotify) close() { _ = k.file.Close() }
