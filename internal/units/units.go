// Package units reads and writes sizes as people do.
package units

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

var sizePattern = regexp.MustCompile(`^(\d+)(?:\.(\d+))?\s*([A-Za-z]*)$`)

// sizeUnits are the units of a size in bytes: M is 1000², Mi is 1024², as the SI
// and IEC 80000-13 have it. A B may follow each.
var sizeUnits = map[string]int64{
	"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}

var errSize = errors.New("want a size in bytes such as 512MiB (1024²), 512M (1000²) or 0")

// ParseSize reads a size in bytes, such as 512MiB, 512M, 1.5k or 100.
func ParseSize(s string) (int64, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil || len(s) > 40 {
		return 0, errSize
	}
	unit, ok := sizeUnits[strings.TrimSuffix(m[3], "B")]
	if !ok {
		return 0, fmt.Errorf("%q is not a unit of size: %w", m[3], errSize)
	}
	n, ok := new(big.Rat).SetString(m[1] + "." + m[2] + "0")
	if !ok {
		return 0, errSize
	}
	n.Mul(n, new(big.Rat).SetInt64(unit))
	if !n.IsInt() {
		return 0, fmt.Errorf("it is not a whole number of bytes: %w", errSize)
	}
	if !n.Num().IsInt64() {
		return 0, fmt.Errorf("out of range: at most %d bytes", int64(math.MaxInt64))
	}
	return n.Num().Int64(), nil
}

// FormatSize writes a size in the largest binary unit that holds it exactly.
func FormatSize(n int64) string {
	for _, u := range []struct {
		name  string
		shift int
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n > 0 && n&(1<<u.shift-1) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
