package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Resident returns the bytes of a process that are in memory or swapped out, those
// that it shares with others included.
func Resident(pid int) (int64, error) { return sumOf(pid, "status", "VmRSS:", "VmSwap:") }

// Share returns the bytes of a process that are in memory or swapped out; of those
// that several processes share, its part.
func Share(pid int) (int64, error) { return sumOf(pid, "smaps_rollup", "Pss:", "SwapPss:") }

// sumOf adds up lines of a file of a process, such as "VmRSS:  123 kB".
func sumOf(pid int, file string, names ...string) (int64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + file)
	if err != nil {
		return 0, err
	}
	return sumLines(data, names...)
}

func sumLines(data []byte, names ...string) (int64, error) {
	sum := int64(0)
	for line := range bytes.Lines(data) {
		f := bytes.Fields(line)
		if len(f) != 3 || string(f[2]) != "kB" {
			continue
		}
		for _, name := range names {
			if string(f[0]) != name {
				continue
			}
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("not a size: %q", line)
			}
			sum += n << 10
		}
	}
	return sum, nil
}
