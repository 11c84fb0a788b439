package render

import (
	"bytes"
	"strings"
	"testing"
	"time"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

func TestTable_AlignsAndShowsNothingThatActs(t *testing.T) {
	table := NewTable("NAME", "STATE", "X")
	table.Row("web", Cell{"running", Green}, "")
	table.Row("größer", "a\x1b[31m\nb", "c")
	var b bytes.Buffer
	if err := table.Write(&b, false); err != nil {
		t.Fatal(err)
	}
	want := "NAME     STATE      X\nweb      running    -\ngrößer   a?[31m b   c\n"
	if b.String() != want {
		t.Errorf("got\n%s, want\n%s", b.String(), want)
	}
	b.Reset()
	_ = table.Write(&b, true)
	if !strings.Contains(b.String(), "\x1b[32mrunning\x1b[0m    -") {
		t.Errorf("colours break the columns: %q", b.String())
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 120 * time.Millisecond: "120ms", 1500 * time.Millisecond: "1.5s", 75 * time.Second: "75s",
		3*time.Minute + 5*time.Second: "3m5s", 100 * time.Minute: "100m", 5*time.Hour + 30*time.Minute: "5h30m", 30 * time.Hour: "30h", 100 * time.Hour: "4d",
	} {
		if got := Age(d); got != want {
			t.Errorf("Age(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestItem_StreamsOneObjectALine(t *testing.T) {
	e := &roostv1.Event{Id: "InstanceReady", Severity: roostv1.EventSeverity_EVENT_SEVERITY_INFO, Message: "a\nb"}
	var b bytes.Buffer
	for range 2 {
		if done, err := Item(&b, FormatJSON, e); !done || err != nil {
			t.Fatal(done, err)
		}
	}
	if got := strings.Count(b.String(), "\n"); got != 2 || !strings.Contains(b.String(), `"severity":"info"`) {
		t.Errorf("%d lines: %s", got, b.String())
	}
	b.Reset()
	_, _ = Item(&b, FormatYAML, e)
	if !strings.HasPrefix(b.String(), "---\nid: InstanceReady\n") {
		t.Errorf("%s", b.String())
	}
}

func TestParseFormat(t *testing.T) {
	if f, err := ParseFormat("wide"); f != FormatWide || err != nil {
		t.Error(f, err)
	}
	if _, err := ParseFormat("xml"); err == nil || !strings.Contains(err.Error(), "table, wide, json, yaml, name") {
		t.Error(err)
	}
}
