package main

import (
	"slices"
	"strings"
	"testing"
)

const sample = ordersVersion + "|18|100|1|500|501|2|501|7|/dir|1|/cg|1|/bin/x|2|x|y z|1|A=b|"

func TestParseOrders(t *testing.T) {
	o, ok := parseOrders([]byte(strings.ReplaceAll(sample, "|", "\x00")))
	if !ok || o.umask != 0o22 || o.nofile != 100 || !o.setID || o.uid != 500 || o.gid != 501 || !slices.Equal(o.groups, []int{501, 7}) ||
		o.dir != "/dir" || !slices.Equal(o.cgroups, []string{"/cg"}) || !o.socket || o.path != "/bin/x" ||
		!slices.Equal(o.argv, []string{"x", "y z"}) || !slices.Equal(o.env, []string{"A=b"}) {
		t.Errorf("orders %+v, %v", o, ok)
	}
}

// What is cut off, or of another version, must never be half obeyed.
func TestParseOrders_Faults(t *testing.T) {
	whole := strings.ReplaceAll(sample, "|", "\x00")
	for i := range len(whole) {
		if o, ok := parseOrders([]byte(whole[:i])); ok {
			t.Fatalf("the first %d bytes were taken for orders: %+v", i, o)
		}
	}
	for _, bad := range []string{whole + "x\x00", strings.Replace(whole, ordersVersion, "roost-exec/1", 1), strings.Replace(whole, "500", "5x0", 1), strings.Replace(whole, "500", "-5", 1)} {
		if o, ok := parseOrders([]byte(bad)); ok {
			t.Errorf("%q was taken for orders: %+v", bad, o)
		}
	}
}

func FuzzParseOrders(f *testing.F) {
	f.Add([]byte(strings.ReplaceAll(sample, "|", "\x00")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if o, ok := parseOrders(data); ok && len(o.argv)+len(o.env) > len(data) {
			t.Errorf("%q: %+v", data, o)
		}
	})
}

func TestDecimal(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 1234567890123: "1234567890123"} {
		if got := decimal(n); got != want {
			t.Errorf("decimal(%d) = %s", n, got)
		}
	}
}
