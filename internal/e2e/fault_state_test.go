package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// damages is what becomes of the state file while no daemon is there.
var damages = []struct {
	name string
	do   func(path string) error
}{
	{"cut off", func(path string) error { return os.Truncate(path, 9000) }},
	{"a bit turned", turnBit},
	{"gone", os.Remove},
	{"empty", func(path string) error { return os.Truncate(path, 0) }},
	{"overwritten", func(path string) error { return os.WriteFile(path, make([]byte, 32<<10), 0o600) }},
}

// turnBit turns a bit of an app's name, everywhere in the file.
func turnBit(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for i := 0; i+4 < len(data); i++ {
		if string(data[i:i+4]) == "app1" {
			data[i+3] ^= 2
		}
	}
	return os.WriteFile(path, data, 0o600)
}

// A state file that is damaged or lost costs no app: it is made again from its
// copy, or refused, and meanwhile all that runs is served.
func TestFault_DamagedState(t *testing.T) {
	f := fault(t, "16", "the state file is damaged or lost, then its copy too")
	f.Parallel()
	s := &steps{host: newHost(f)}
	for n := range 3 {
		s.must(s.put(s.boots("app"+itoa(int32(n)), "1")))
	}
	s.eventually("all run", func() bool { return len(s.serving()) == 3 })
	before := s.serving()
	undisturbed := func() {
		s.Helper()
		changed := 0
		for name, pid := range before {
			changed += count(s.get(name, "/").status != http.StatusOK || s.inFolder(name)[0] != int(pid))
		}
		f.lost("apps", changed)
	}
	for n, d := range damages[:f.size(2, len(damages))] {
		s.awaitCopy()
		s.daemon.end(syscall.SIGKILL)
		s.must(d.do(s.state("roost.db")))
		s.startDaemon()
		s.eventually("the daemon knows all apps again after the file was "+d.name, func() bool { return maps.Equal(s.serving(), before) })
		if got := s.count("", "StateRestored"); got != n+1 {
			f.Errorf("%s: %d events of it, want %d", d.name, got, n+1)
		}
		undisturbed()
		f.count("restored", 1)
	}

	s.awaitCopy()
	backup, err := os.ReadFile(s.state("roost.db.good"))
	s.must(err)
	for _, name := range []string{"both gone", "both damaged"} {
		s.daemon.end(syscall.SIGKILL)
		for _, file := range []string{"roost.db", "roost.db.good"} {
			s.must(os.Remove(s.state(file)))
			if name == "both damaged" {
				s.must(os.WriteFile(s.state(file), backup[:9000], 0o600))
			}
		}
		s.refused(s.state("roost.db"), "backup")
		undisturbed()
		f.count("refused", 1)
		s.must(os.WriteFile(s.state("roost.db"), backup, 0o600))
		s.startDaemon()
		s.eventually("the daemon knows all apps again with a backup", func() bool { return maps.Equal(s.serving(), before) })
		undisturbed()
		s.awaitCopy()
	}
}

// refused starts a daemon that refuses to, and says these words.
func (s *steps) refused(words ...string) {
	s.Helper()
	s.launchDaemon()
	<-s.daemon.exited
	if code := s.daemon.cmd.ProcessState.ExitCode(); code != 1 {
		s.Fatalf("exit code %d, want 1", code)
	}
	for _, w := range words {
		if !contains(s.daemon.output(), w) {
			s.Fatalf("it does not say %q:\n%s", w, s.daemon.output())
		}
	}
}

// The state of a newer roostd is refused by an older one, which changes nothing of
// it; apps run and are served until the newer one is back.
func TestFault_StateOfANewerDaemon(t *testing.T) {
	f := fault(t, "18", "roostd finds the state of a newer one")
	f.Parallel()
	s := &steps{host: newHost(f)}
	running(s, "web")
	before := s.serving()
	s.daemon.end(syscall.SIGKILL)
	was := setSchema(s, "\x00\x00\x00\x00\x00\x00\x00\x63")
	state, err := os.ReadFile(s.state("roost.db"))
	s.must(err)
	s.refused("newer roostd", "schema is 99")
	f.count("refused", 1)
	after, err := os.ReadFile(s.state("roost.db"))
	s.must(err)
	f.lost("state files", count(string(state) != string(after)))
	s.get("web", "/").wants(f, http.StatusOK)
	setSchema(s, was)
	s.startDaemon()
	s.eventually("the daemon knows its app again", func() bool { return maps.Equal(s.serving(), before) })
}

func setSchema(s *steps, to string) (was string) {
	s.Helper()
	db, err := bolt.Open(s.state("roost.db"), 0o600, nil)
	s.must(err)
	err = db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte("meta"))
		was = string(meta.Get([]byte("schema")))
		return meta.Put([]byte("schema"), []byte(to))
	})
	s.must(errors.Join(err, db.Close()))
	return was
}

// What an app should be outlives the daemon and the machine: what an operator
// stopped or took offline stays so, and what starts by itself runs again. Records
// of another boot are history: their pids are others' now.
func TestFault_DesiredStateOutlivesTheMachine(t *testing.T) {
	f := fault(t, "27", "the daemon dies, then the machine; apps are what they should be")
	f.Parallel()
	s := &steps{host: newHost(f)}
	for _, name := range []string{"stopped", "offline", "boots"} {
		running(s, name)
	}
	s.apply(s.versioned("asked", "1")) // it runs because of requests
	s.get("asked", "/").wants(f, http.StatusOK)
	s.must(stopApp(s, "stopped"))
	s.must(offline(true)(s, "offline"))
	wanted := map[string]result{"stopped": isStopped, "offline": isOffline, "boots": runs("1", 1), "asked": runs("1", 1)}
	check := func() {
		s.Helper()
		for name, w := range wanted {
			s.becomes(name, w)
			f.count("states", 1)
		}
		s.get("stopped", "/").wants(f, http.StatusServiceUnavailable)
		s.get("offline", "/").wants(f, http.StatusServiceUnavailable)
	}
	check()
	boots := s.pids("boots")
	s.daemon.end(syscall.SIGKILL)
	s.startDaemon()
	check()
	f.lost("pids", count(fmt.Sprint(s.pids("boots")) != fmt.Sprint(boots)))

	s.keeper()
	bystander := exec.Command("sleep", "1000")
	s.must(bystander.Start())
	f.Cleanup(func() { _ = bystander.Process.Kill(); _ = bystander.Wait() })
	s.daemon.end(syscall.SIGKILL)
	s.powerOff()
	f.count("reboots", count(s.ofAnotherBoot(bystander.Process.Pid) > 0))
	s.startDaemon()
	check()
	f.lost("bystanders", count(bystander.Process.Signal(syscall.Signal(0)) != nil || !alive(bystander.Process.Pid)))
}

// powerOff ends the keeper and every app, as a machine does that loses its power.
func (s *steps) powerOff() {
	s.Helper()
	for _, pid := range s.processes() {
		if pid != s.proxy.pid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	s.eventually("nothing runs", func() bool {
		for _, pid := range s.processes() {
			if pid != s.proxy.pid() && alive(pid) {
				return false
			}
		}
		return true
	})
}

// alive tells whether a process is more than a zombie.
func alive(pid int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && exe != ""
}

// ofAnotherBoot makes every record one of another boot, where its pid is a bystander's.
func (s *steps) ofAnotherBoot(bystander int) (records int) {
	s.Helper()
	paths, err := filepath.Glob(s.state("instances/*/record.json"))
	s.must(err)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", bystander))
	s.must(err)
	ticks := strings.Fields(string(stat))[21] // proc(5); its name has no space
	for _, path := range paths {
		data, err := os.ReadFile(path)
		s.must(err)
		var record map[string]any
		s.must(json.Unmarshal(data, &record))
		if record["bootId"] == nil || record["pid"] == nil || record["startTicks"] == nil {
			s.Fatalf("no pid, start and boot in %s", data)
		}
		record["bootId"], record["pid"], record["startTicks"] = "00000000-0000-0000-0000-000000000000", bystander, ticks
		data, err = json.Marshal(record)
		s.must(errors.Join(err, os.WriteFile(path, data, 0o600)))
	}
	return len(paths)
}
