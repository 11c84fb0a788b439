package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestWarnOfOverlap_OnlyWhereTheRangesMeet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "range")
	if err := os.WriteFile(path, []byte("32768\t60999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path      string
		low, high int
		want      bool
	}{
		{path, 20000, 29999, false},
		{path, 20000, 32768, true},
		{path, 60999, 61999, true},
		{path, 40000, 41000, true},
		{path, 61000, 61999, false},
		{path + ".none", 40000, 41000, false},
	} {
		var out bytes.Buffer
		warnOfOverlap(tt.path, tt.low, tt.high, hclog.New(&hclog.LoggerOptions{Output: &out}))
		if got := strings.Contains(out.String(), "ip_local_port_range=32768-60999"); got != tt.want {
			t.Errorf("%s %d-%d: %q", tt.path, tt.low, tt.high, out.String())
		}
	}
}
