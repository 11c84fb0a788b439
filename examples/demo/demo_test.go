package main

import (
	"strings"
	"testing"
)

// Commands are told only where there will be something that they reach.
func TestDemo_SaysWhatToTryOnlyWhereItStays(t *testing.T) {
	for _, stay := range []bool{false, true} {
		var out strings.Builder
		d := &demo{config: config{bin: "bin", stay: stay, out: &out}, dir: "/gone", url: "http://127.0.0.1:1"}
		d.sayNext()
		if got := strings.Contains(out.String(), "ROOSTCTL_DAEMON=") && strings.Contains(out.String(), "curl"); got != stay {
			t.Errorf("stays up %v, tells commands %v:\n%s", stay, got, out.String())
		}
	}
}

func TestApplied_SaysWhatItWaitedFor(t *testing.T) {
	for text, waited := range map[string]bool{"apps: {worker: {command: a}}": true, "apps: {web: {command: a}}": false} {
		m, err := readText(t, text)
		if err != nil {
			t.Fatal(err)
		}
		if got := applied(m); strings.Contains(got, "min_ready") != waited || !strings.HasPrefix(got, "1 app") {
			t.Errorf("%s: %q", text, got)
		}
	}
}
