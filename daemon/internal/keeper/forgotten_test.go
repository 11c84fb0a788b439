package keeper

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// files are the names in an instance's folder.
func (f *fixture) files(p *Process) []string {
	entries, _ := os.ReadDir(instanceDir(f.state, string(p.id)))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name()+" "+e.Type().String()[:1])
	}
	return names
}

func TestForget_KeepsTheTokenWhileThereIsOutput(t *testing.T) {
	f := newOutsideFixture(t, "")
	p, other := f.launch(f.spec("write:secret-token\n")), f.launch(f.spec("exit:0"))
	for _, p := range []*Process{p, other} {
		f.wait(p.Gone())
		if err := p.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		if token, ok := f.client.Token(string(p.id)); token != "secret-token" || !ok {
			t.Errorf("%s: token %q, %v", when, token, ok)
		}
		if list, err := f.client.Recover(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%s: it is found again: %v, %v", when, list, err)
		}
		if names := f.files(p); len(names) != 1 || names[0] != forgottenName+" -" {
			t.Errorf("%s: its folder has %v", when, names)
		}
	}
	check("forgotten")
	info, err := os.Stat(filepath.Join(instanceDir(f.state, string(p.id)), forgottenName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want 0600", info, err)
	}

	f.stop()
	f.shutdown() // the next client starts another
	if err := os.RemoveAll(filepath.Join(f.keeper.LogDir, "web", string(other.id))); err != nil {
		t.Fatal(err)
	}
	f.stop = f.connect()
	if _, err := f.client.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("of an earlier keeper")
	f.await(func() bool { return len(f.files(other)) == 0 })
	if token, ok := f.client.Token(string(other.id)); ok {
		t.Errorf("the token %q of an instance without output", token)
	}
}

func TestForget_SweepsWhatHasNoOutputNowAndThen(t *testing.T) {
	s := &server{cfg: newConfig(t, "")}
	dirs := map[string]string{}
	for _, id := range []string{"read", "deleted", "cut"} {
		dirs[id] = instanceDir(s.cfg.StateDir, id)
		if err := os.MkdirAll(filepath.Join(s.cfg.LogDir, "web", id), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dirs[id], 0o700); err != nil {
			t.Fatal(err)
		}
		if id == "cut" { // a start that has no record yet
			continue
		}
		if err := os.WriteFile(filepath.Join(dirs[id], forgottenName), []byte(`{"instance":"`+id+`","app":"web"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	if err := s.sweepForgotten(now); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.cfg.LogDir, "web", "deleted")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		left  map[string]bool
	}{
		{sweepEvery - 1, map[string]bool{"read": true, "deleted": true, "cut": true}},
		{sweepEvery, map[string]bool{"read": true, "cut": true}},
	} {
		if err := s.sweepForgotten(now.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		for id, dir := range dirs {
			if _, err := os.Stat(dir); (err == nil) != c.left[id] {
				t.Errorf("after %v: %s: %v", c.after, id, err)
			}
		}
	}
}

func TestToken_IsKnownBeforeTheLaunch(t *testing.T) {
	c, err := NewClient(ClientConfig{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.process("one").expect("secret", 7)
	if g := c.Generation("one"); g != 7 {
		t.Errorf("generation %d", g)
	}
	if token, ok := c.Token("one"); token != "secret" || !ok {
		t.Errorf("token %q, %v", token, ok)
	}
	if token, ok := c.Token("../one"); ok {
		t.Errorf("a token %q of what is no id", token)
	}
}
