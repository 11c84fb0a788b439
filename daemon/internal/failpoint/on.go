//go:build failpoints

package failpoint

import (
	"bytes"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

var (
	file   atomic.Pointer[string]
	passed atomic.Int64 // since the file was there, of the point that it names
)

// Enabled tells whether this program can be made to die.
const Enabled = true

// Arm names the file that says where to die: a point, a space, and how often it is
// passed before, "save 0". Without the file, nowhere.
func Arm(path string) { file.Store(&path) }

// Here kills this process, as by kill -9, if the file says so.
func Here(p Point) {
	path := file.Load()
	if path == nil {
		return
	}
	text, err := os.ReadFile(*path)
	if err != nil {
		return
	}
	name, count, _ := bytes.Cut(bytes.TrimSpace(text), []byte(" "))
	before, err := strconv.ParseInt(string(count), 10, 64)
	if err != nil || Point(name) != p || passed.Add(1) <= before {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it takes its time to arrive
}
