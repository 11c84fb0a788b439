package supervisor

import (
	"context"
	"maps"
	"sync"
	"syscall"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

// fakeProcess follows its script.
type fakeProcess struct {
	host     *fakeHost
	script   script
	launch   app.Launch
	timer    *time.Timer
	exited   chan struct{}
	gone     chan struct{}
	notified chan struct{}

	mu        sync.Mutex
	info      app.ProcessInfo
	exit      app.Exit
	sick      error // of a check
	checked   int
	signals   []syscall.Signal
	killed    bool
	forgotten bool
	unblocked bool
	memory    int64
	measures  int
}

// end ends the leader, and its tree after what the script says.
func (p *fakeProcess) end(e app.Exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if closed(p.exited) {
		return
	}
	e.Time = time.Now()
	p.exit = e
	close(p.exited)
	if p.script.linger == 0 {
		close(p.gone)
		return
	}
	time.AfterFunc(p.script.linger, func() { close(p.gone) })
}

// crash ends the process by itself.
func (p *fakeProcess) crash() { p.end(app.Exit{Signal: syscall.SIGSEGV}) }

func (p *fakeProcess) fallSick(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sick = err
}

func (p *fakeProcess) Info() app.ProcessInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	info := p.info
	info.Notes = maps.Clone(info.Notes)
	return info
}

func (p *fakeProcess) Exited() <-chan struct{} { return p.exited }

func (p *fakeProcess) Exit() app.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

func (p *fakeProcess) Gone() <-chan struct{} { return p.gone }

func (p *fakeProcess) Signal(_ context.Context, sig syscall.Signal) error {
	p.mu.Lock()
	p.signals = append(p.signals, sig)
	p.mu.Unlock()
	switch {
	case sig != syscall.SIGTERM || p.script.stop < 0:
	case p.script.stop == 0:
		p.end(app.Exit{})
	default:
		time.AfterFunc(p.script.stop, func() { p.end(app.Exit{}) })
	}
	return nil
}

func (p *fakeProcess) wasSignalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.signals) > 0
}

func (p *fakeProcess) wasKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

func (p *fakeProcess) Kill(context.Context) error {
	p.mu.Lock()
	p.killed = true
	p.mu.Unlock()
	p.end(app.Exit{Signal: syscall.SIGKILL})
	return nil
}

func (p *fakeProcess) Exec(context.Context, []string, time.Duration) error { return nil }
func (p *fakeProcess) Pids(context.Context) ([]int, error)                 { return nil, nil }
func (p *fakeProcess) Memory(_ context.Context, above int64) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.measures++
	return p.memory, nil
}

func (p *fakeProcess) Notified() <-chan struct{} { return p.notified }

func (p *fakeProcess) Annotate(_ context.Context, notes map[string]string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.info.Notes == nil {
		p.info.Notes = map[string]string{}
	}
	maps.Copy(p.info.Notes, notes)
	return nil
}

func (p *fakeProcess) Unblock(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unblocked = true
	return nil
}

func (p *fakeProcess) isUnblocked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unblocked
}

func (p *fakeProcess) Forget(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgotten = true
	return nil
}

func (p *fakeProcess) isForgotten() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forgotten
}
