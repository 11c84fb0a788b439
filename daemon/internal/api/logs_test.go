package api

import (
	"fmt"
	"slices"
	"testing"

	"github.com/roostd/roost/daemon/internal/logs"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// What is missing is told where it is missing.
func TestSendEntries_TellsOfGapsBetweenThem(t *testing.T) {
	var sent []string
	line := func(text string) logs.Entry { return logs.Entry{Data: []byte(text)} }
	gap := func(missed int64) logs.Entry { return logs.Entry{Gap: true, Missed: missed} }
	err := sendEntries([]logs.Entry{gap(3), line("a"), line("b"), gap(5), line("c")}, func(r *roostv1.ReadLogsResponse) error {
		text := fmt.Sprint("missed ", r.GetDropped().GetBytes())
		if b := r.GetBatch(); b != nil {
			text = ""
			for _, e := range b.GetEntries() {
				text += string(e.GetData())
			}
		}
		sent = append(sent, text)
		return nil
	})
	if want := []string{"missed 3", "ab", "missed 5", "c"}; err != nil || !slices.Equal(sent, want) {
		t.Errorf("sent %q, %v, want %q", sent, err, want)
	}
}
