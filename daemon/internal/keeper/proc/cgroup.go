package proc

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Cgroups returns the cgroups of a process: controller to path within its
// hierarchy, the unified one under "".
func Cgroups(pid int) (map[string]string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return nil, err
	}
	return parseCgroups(data), nil
}

// parseCgroups takes the lines of cgroups(7): hierarchy:controllers:path.
func parseCgroups(data []byte) map[string]string {
	groups := map[string]string{}
	for line := range bytes.Lines(data) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		for c := range strings.SplitSeq(controllers, ",") {
			groups[c] = path
		}
	}
	return groups
}

// CgroupMount is a mounted cgroup hierarchy.
type CgroupMount struct {
	Point       string
	Root        string   // the cgroup that lies at Point
	Unified     bool     // v2
	Controllers []string // of a v1 hierarchy
}

// Has tells whether it is the v1 hierarchy of a controller.
func (m CgroupMount) Has(controller string) bool { return slices.Contains(m.Controllers, controller) }

// Dir returns the folder of a cgroup, given by its path in /proc/PID/cgroup;
// false where it lies outside of what is mounted.
func (m CgroupMount) Dir(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(m.Root, "/"))
	if !ok || strings.Contains(path, "/..") || rest != "" && rest[0] != '/' {
		return "", false
	}
	return m.Point + strings.TrimSuffix(rest, "/"), true
}

// CgroupMounts returns the hierarchies that this process sees.
func CgroupMounts() ([]CgroupMount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMounts(f)
}

// parseMounts takes the lines of proc_pid_mountinfo(5): id parent device root
// point options … - type source superoptions.
func parseMounts(r io.Reader) ([]CgroupMount, error) {
	var mounts []CgroupMount
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		mount, fs := strings.Fields(before), strings.Fields(after)
		if !ok || len(mount) < 5 || len(fs) < 3 {
			continue
		}
		m := CgroupMount{Root: unescape(mount[3]), Point: unescape(mount[4])}
		switch fs[0] {
		case "cgroup2":
			m.Unified = true
		case "cgroup":
			m.Controllers = strings.Split(fs[2], ",")
		default:
			continue
		}
		mounts = append(mounts, m)
	}
	return mounts, lines.Err()
}

// unescape undoes the octal escapes that mountinfo has for blanks.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
