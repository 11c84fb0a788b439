package api

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/roostd/roost/daemon/internal/app"
)

// The name of a watched file, of a stranger's program, or what an app answers a
// probe, is any bytes.
func TestMessages_HoldWhatIsNoUTF8(t *testing.T) {
	const text = "caf\xe9 changed"
	shown := app.App{
		Stored:     app.Stored{Name: "web", Serving: 1, Generations: []app.Generation{{Number: 1, ResolvedDir: "/srv/" + text}}},
		Conditions: []app.Condition{{Type: app.CondRecycleFailed, Message: text}},
		Rollout:    &app.Rollout{Message: text, Output: text},
	}
	for name, m := range map[string]proto.Message{
		"app":        appTo(shown, true),
		"generation": generationTo(shown.Generations[0], 1, 1, true),
		"instance":   instanceTo(app.Instance{Reason: text, OutputTail: text}, 0),
		"warning":    warningsTo([]app.Violation{{Field: "command", Message: text}})[0],
	} {
		if _, err := proto.Marshal(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kind := range []app.Kind{app.Invalid, app.Conflict, app.WrongState} {
		s, _ := toStatus(t.Context(), &app.Fault{Kind: kind, Message: text, Violations: []app.Violation{{Field: "dir", Message: text}}})
		if _, err := proto.Marshal(s.Proto()); err != nil || len(s.Details()) < 2 {
			t.Errorf("kind %d: %v, details %v", kind, err, s.Details())
		}
	}
	s, _ := toStatus(t.Context(), &app.Fault{Kind: app.WrongState, Message: text})
	if _, err := proto.Marshal(s.Proto()); err != nil || len(s.Details()) != 2 {
		t.Errorf("%v, details %v", err, s.Details())
	}
}
