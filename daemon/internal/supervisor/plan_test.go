package supervisor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// parse reads instances, oldest first: id, a letter for the phase (Starting,
// Ready, Unready, Draining, sTopping: S R U D T), "!" for one that is outdated,
// "*" for one that is due, "@3" for one of rollout r that has been ready for 3 seconds (0 where not said).
func parse(t *testing.T, s string) []seen {
	var list []seen
	for f := range strings.FieldsSeq(s) {
		i := seen{id: app.InstanceID(f[:1]), current: !strings.Contains(f, "!"), due: strings.Contains(f, "*"), readySince: now.Add(-time.Hour)}
		i.phase = map[byte]app.Phase{
			'S': app.PhaseStarting, 'R': app.PhaseReady, 'U': app.PhaseUnready, 'D': app.PhaseDraining, 'T': app.PhaseStopping,
		}[f[1]]
		if i.phase == 0 {
			t.Fatalf("no phase in %q", f)
		}
		if _, age, ok := strings.Cut(f, "@"); ok {
			i.rollout = "r"
			seconds := 0
			_, _ = fmt.Sscan(age, &seconds)
			i.readySince = now.Add(-time.Duration(seconds) * time.Second)
		}
		if strings.Contains(f, "#") {
			i.rollout = "older"
		}
		list = append(list, i)
	}
	return list
}

// text writes a decision: +n starts, +new starts of the rollout, -id stops.
func text(d decision) string {
	var parts []string
	starts, news := 0, 0
	for _, a := range d.actions {
		switch {
		case a.id != "":
			parts = append(parts, "-"+string(a.id))
		case a.rollout:
			news++
		default:
			starts++
		}
	}
	if starts > 0 {
		parts = append(parts, fmt.Sprintf("+%d", starts))
	}
	if news > 0 {
		parts = append(parts, fmt.Sprintf("+%dnew", news))
	}
	if !d.wake.IsZero() {
		parts = append(parts, "wake "+d.wake.Sub(now).String())
	}
	return strings.Join(parts, " ")
}

func TestPlan_Steady(t *testing.T) {
	later := now.Add(time.Second)
	tests := map[string]struct {
		wish wish
		have string
		want string
	}{
		"nothing is wanted":                       {wish{count: 2}, "", ""},
		"what is not wanted is stopped":           {wish{count: 2}, "aR bS cU dD eT", "-a -b -c"},
		"all missing ones start together":         {wish{run: true, count: 3}, "aR", "+2"},
		"starting ones count":                     {wish{run: true, count: 2}, "aR bS", ""},
		"unready ones count":                      {wish{run: true, count: 2}, "aR bU", ""},
		"dying ones do not":                       {wish{run: true, count: 2}, "aR bD cT", "+1"},
		"backoff is waited for":                   {wish{run: true, count: 1, notBefore: later}, "", "wake 1s"},
		"backoff that has passed":                 {wish{run: true, count: 1, notBefore: now}, "", "+1"},
		"surplus: not ready first, then newest":   {wish{run: true, count: 2}, "aR bS cR dR", "-b -d"},
		"exclusive: the old one must be gone":     {wish{run: true, count: 1, exclusive: true}, "aT", ""},
		"exclusive: it is":                        {wish{run: true, count: 1, exclusive: true}, "", "+1"},
		"exclusive: as many as there is room for": {wish{run: true, count: 3, exclusive: true}, "aR bT", "+1"},
		"outdated: one new beside":                {wish{run: true, count: 2}, "aR! bR!", "+1"},
		"outdated: wait until it is ready":        {wish{run: true, count: 2}, "aR! bR! cS", ""},
		"outdated: one goes for each ready one":   {wish{run: true, count: 2}, "aR! bR! cR", "-a"},
		"outdated: wait until it is gone":         {wish{run: true, count: 2}, "aD! bR! cR", ""},
		"outdated: the next":                      {wish{run: true, count: 2}, "bR! cR", "+1"},
		"outdated and not ready: at once":         {wish{run: true, count: 1}, "aS!", "-a +1"},
		"outdated, exclusive: it goes first":      {wish{run: true, count: 1, exclusive: true}, "aR!", "-a"},
		"outdated, exclusive: wait":               {wish{run: true, count: 1, exclusive: true}, "aD!", ""},
		"outdated, exclusive: no room for it":     {wish{run: true, count: 1, exclusive: true}, "aR! bR", "-a"},
		"rolled back at the second of three":      {wish{run: true, count: 3}, "aR bR cR! dT!", ""},
		"rolled back: one old one beside the new": {wish{run: true, count: 3}, "aR bR cR!", "+1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := text(plan(tt.wish, parse(t, tt.have), now)); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.have, got, tt.want)
			}
		})
	}
}

func TestPlan_Recycle(t *testing.T) {
	recycle := func(n int) wish { return wish{run: true, count: n, recycle: true, minReady: 2 * time.Second} }
	exclusive := func(n int) wish { w := recycle(n); w.exclusive = true; return w }
	tests := map[string]struct {
		wish wish
		have string
		want string
	}{
		"without a recycle nothing is due":      {wish{run: true, count: 2}, "aR* bR*", ""},
		"one new beside":                        {recycle(2), "aR* bR*", "+1"},
		"wait until it is ready":                {recycle(2), "aR* bR* cS", ""},
		"wait until it has been for min_ready":  {recycle(2), "aR* bR* cR@1", "wake 1s"},
		"then one goes":                         {recycle(2), "aR* bR* cR@2", "-a"},
		"wait until it is gone":                 {recycle(2), "aD* bR* cR@2", ""},
		"the next":                              {recycle(2), "bR* cR@3", "+1"},
		"only what is due":                      {recycle(3), "aR bR* cR", "+1"},
		"it goes, the others stay":              {recycle(3), "aR bR* cR dR@2", "-b"},
		"one that is unready is kept as long":   {recycle(1), "aU* bS", ""},
		"exclusive: one goes first":             {exclusive(2), "aR* bR*", "-a"},
		"exclusive: wait until it is gone":      {exclusive(2), "aD* bR*", ""},
		"exclusive: then its replacement":       {exclusive(2), "bR*", "+1"},
		"exclusive: which is waited for":        {exclusive(2), "bR* cS", ""},
		"exclusive: for min_ready":              {exclusive(2), "bR* cR@1", "wake 1s"},
		"exclusive: before the next one goes":   {exclusive(2), "bR* cR@2", "-b"},
		"a missing one is started as any other": {recycle(2), "aR*", "+1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := text(plan(tt.wish, parse(t, tt.have), now)); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.have, got, tt.want)
			}
		})
	}
}

func TestPlan_Hold(t *testing.T) {
	hold := wish{run: true, count: 2, hold: true}
	exclusive := wish{run: true, count: 2, hold: true, exclusive: true}
	for name, tt := range map[string]struct {
		wish wish
		have string
		want string
	}{
		"nothing is started":             {hold, "aR", ""},
		"nor makes room":                 {exclusive, "aR! bR!", ""},
		"what is too much goes":          {hold, "aR bR cR dS", "-d -c"},
		"what has been replaced goes":    {hold, "aR! bR! cR", "-a"},
		"all goes where nothing may run": {wish{hold: true}, "aR bS", "-a -b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := text(plan(tt.wish, parse(t, tt.have), now)); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.have, got, tt.want)
			}
		})
	}
}

func TestPlan_Rollout(t *testing.T) {
	roll := func(count int, change ...func(r *replacing)) wish {
		r := &replacing{id: "r", count: count, minReady: 2 * time.Second}
		for _, c := range change {
			c(r)
		}
		return wish{run: true, count: count, rollout: r}
	}
	exclusive := func(r *replacing) { r.exclusive = true }
	committed := func(r *replacing) { r.committed = true }
	paused := func(r *replacing) { r.paused = true }
	with := func(w wish, old int) wish { w.count = old; return w }
	tests := map[string]struct {
		wish wish
		have string
		want string
	}{
		"begin: one new beside the old":               {roll(2), "aR bR", "+1new"},
		"one at a time":                               {roll(2), "aR bR cS@", ""},
		"ready, not yet for min_ready":                {roll(2), "aR bR cR@1", "wake 1s"},
		"then one old one drains":                     {roll(2), "aR bR cR@2", "-a"},
		"and is waited for":                           {roll(2), "aD bR cR@9", ""},
		"before the next":                             {roll(2), "bR cR@9", "+1new"},
		"all ready: nothing before it is written":     {roll(2), "bR cR@9 dR@2", ""},
		"written: the last old one goes":              {roll(2, committed), "bR cR@9 dR@2", "-b"},
		"written: a crashed new one comes back":       {roll(2, committed), "cR@9", "+1new"},
		"an old one dies: the serving one comes":      {roll(2), "aR cS@", "+1"},
		"an old one dies during backoff":              {wish{run: true, count: 1, notBefore: now.Add(time.Second), rollout: roll(1).rollout}, "cS@", "wake 1s"},
		"one alone keeps its old one to the end":      {roll(1), "aR bR@2", ""},
		"ended badly: nothing for the rollout":        {roll(1, paused), "aR", ""},
		"of an older rollout, not ready: stopped":     {roll(1), "aR bS#", "-b +1new"},
		"of an older rollout, ready: old":             {roll(1), "aR bR#", "-a"},
		"exclusive: the old one goes first":           {roll(1, exclusive), "aR", "-a"},
		"exclusive: and is waited for":                {roll(1, exclusive), "aT", ""},
		"exclusive: then the new one":                 {roll(1, exclusive), "", "+1new"},
		"exclusive: the next of two":                  {roll(2, exclusive), "bR cR@2", "-b"},
		"exclusive: nothing old comes back meanwhile": {roll(1, exclusive), "cS@", ""},
		"from three to one":                           {with(roll(1), 3), "aR bR cR", "+1new"},
		"from three to one: written":                  {with(roll(1, committed), 1), "aR bR cR dR@2", "-a -b -c"},
		"from one to three: the old one stays":        {with(roll(3), 1), "aR dR@9", "+1new"},
		"scaled down meanwhile":                       {roll(1), "aR cR@9 dS@", "-d"},
		"nothing served before":                       {with(roll(1), 0), "", "+1new"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := text(plan(tt.wish, parse(t, tt.have), now)); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.have, got, tt.want)
			}
		})
	}
}

func TestNextStep_SaysWhenARolloutIsComplete(t *testing.T) {
	r := &replacing{id: "r", count: 2, minReady: 2 * time.Second}
	done := &replacing{id: "r", count: 2, minReady: 2 * time.Second, committed: true}
	tests := map[string]struct {
		p    progress
		have string
		want step
	}{
		"replace: not all ready":           {progress{kind: rollReplace, replacing: r}, "aR bR@9 cR@1", stepWait},
		"replace: all for min_ready":       {progress{kind: rollReplace, replacing: r}, "aR bR@9 cR@2", stepCommit},
		"replace: an old one is left":      {progress{kind: rollReplace, replacing: done}, "aT bR@9 cR@2", stepWait},
		"replace: a new one crashed":       {progress{kind: rollReplace, replacing: done}, "bR@9", stepWait},
		"replace: proxies are to be asked": {progress{kind: rollReplace, replacing: done}, "bR@9 cR@2", stepConfirm},
		"replace: they have it":            {progress{kind: rollReplace, replacing: done, confirmed: true}, "bR@9 cR@2", stepDone},
		"run: starting":                    {progress{kind: rollRun, wanted: 1}, "aS", stepWait},
		"run: one too many":                {progress{kind: rollRun, wanted: 1}, "aR bR", stepWait},
		"run: one is still ending":         {progress{kind: rollRun, wanted: 1}, "aR bT", stepWait},
		"run: ready":                       {progress{kind: rollRun, wanted: 1}, "aR", stepConfirm},
		"routes":                           {progress{kind: rollRoutes}, "", stepConfirm},
		"routes: the proxies have them":    {progress{kind: rollRoutes, confirmed: true}, "", stepDone},
		"stop: one is left":                {progress{kind: rollStop}, "aT", stepWait},
		"stop: none is":                    {progress{kind: rollStop}, "", stepDone},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := nextStep(tt.p, parse(t, tt.have), now); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestState_SumsAnAppUp(t *testing.T) {
	tests := []struct {
		s    situation
		want app.State
	}{
		{situation{}, app.StateIdle},
		{situation{stopped: true, ready: 1}, app.StateStopped},
		{situation{wanted: 2, ready: 2}, app.StateRunning},
		{situation{wanted: 2, ready: 3, starting: 1}, app.StateRunning},
		{situation{wanted: 2, ready: 1, starting: 1}, app.StateDegraded},
		{situation{wanted: 2, unready: 2}, app.StateDegraded},
		{situation{wanted: 2, starting: 2, failed: true}, app.StateStarting},
		{situation{wanted: 1}, app.StateStarting},
		{situation{wanted: 1, failed: true}, app.StateFailed},
		{situation{failed: true, blocked: true}, app.StateBlocked},
		{situation{wanted: 2, ready: 1, blocked: true}, app.StateDegraded},
	}
	for _, tt := range tests {
		if got := stateOf(tt.s); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.s, got, tt.want)
		}
	}
}

func TestIdle_Step(t *testing.T) {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	tests := map[string]struct {
		since time.Time
		idle  bool
		used  time.Time
		stop  bool
		next  time.Duration
	}{
		"busy: ask again after the limit": {ago(time.Hour), false, ago(time.Hour), false, time.Minute},
		"idle for long enough":            {ago(time.Minute), true, ago(time.Hour), true, 0},
		"idle, not for long enough":       {ago(20 * time.Second), true, ago(time.Hour), false, 40 * time.Second},
		"idle, but just started":          {ago(time.Hour), true, ago(50 * time.Second), false, 10 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stop, next := idleStep(tt.since, tt.idle, tt.used, time.Minute, now)
			if stop != tt.stop || !stop && next.Sub(now) != tt.next {
				t.Errorf("stop %v, next %v", stop, next.Sub(now))
			}
		})
	}
}
