package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// site is a folder with an app in it, as a deployment has.
type site struct {
	*host
	name, dir string
}

func (h *host) site(name string, change ...func(s *roostv1.AppSpec)) *site {
	h.Helper()
	spec := h.spec(name)
	for _, c := range change {
		c(spec)
	}
	h.apply(spec)
	return &site{h, name, spec.Dir}
}

// put writes a file as editors do: it is there at once, whole.
func (s *site) put(file, content string) {
	s.Helper()
	tmp := filepath.Join(s.host.dir, "new-"+s.name)
	if err := errorsOf(os.WriteFile(tmp, []byte(content), 0o644), os.Rename(tmp, filepath.Join(s.dir, file))); err != nil {
		s.Fatal(err)
	}
}

func (s *site) remove(file string) {
	s.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, file)); err != nil {
		s.Fatal(err)
	}
}

// offline waits until requests get the page.
func (s *site) offline(page string) {
	s.Helper()
	var last reply
	s.eventually(fmt.Sprintf("%s is offline with %q", s.name, page), func() bool {
		last = s.get(s.name, "/any")
		return last.status == http.StatusServiceUnavailable && last.header.Get("Roost-Error") == "offline" && last.body == page
	})
	if last.header.Get("Content-Type") != "text/html" {
		s.Fatalf("the page comes as %v", last)
	}
}

// empty waits until no process of the app is left.
func (s *site) empty() {
	s.Helper()
	s.eventually("no process is left of "+s.name, func() bool { return len(s.inFolder(s.name)) == 0 })
}

// online waits until requests are answered, by the app or, until then, with the page.
func (s *site) online() {
	s.Helper()
	s.eventually(s.name+" is in service", func() bool {
		r := s.get(s.name, "/")
		if r.header.Get("Roost-Error") != "offline" {
			r.wants(s, http.StatusOK)
		}
		return r.status == http.StatusOK
	})
}

func TestOffline_FileTakesARunningAppOutAndBack(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web")
	for range 2 {
		s.online()
		s.put("app_offline.htm", "<p>soon \xff</p>")
		s.offline("<p>soon \xff</p>")
		s.empty()
		// Its files are nobody's: they can be replaced.
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
		if err := errorsOf(os.Mkdir(s.dir, 0o755), os.Chmod(s.dir, 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	s.online()
	if h.count("web", "AppOffline") != 2 || h.count("web", "AppOnline") != 2 {
		t.Errorf("%d and %d events", h.count("web", "AppOffline"), h.count("web", "AppOnline"))
	}
}

func TestOffline_PageThatIsBeingCopied(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web")
	s.online()
	f, err := os.Create(filepath.Join(s.dir, "app_offline.htm"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteString("<p>so"); err != nil {
		t.Fatal(err)
	}
	h.eventually("it counts at once", func() bool { return h.get("web", "/").header.Get("Roost-Error") == "offline" })
	if r := h.get("web", "/"); r.body == "" || r.body == "<p>so" {
		t.Errorf("half a page was shown: %q", r.body)
	}
	if _, err := f.WriteString("on</p>"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	s.offline("<p>soon</p>")
}

func TestOffline_FileBeforeTheFirstStartAndInAnyCase(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	s := &site{h, "web", spec.Dir}
	s.put("App_Offline.HTM", "early")
	h.apply(spec)
	s.offline("early")
	if n := h.count("web", "InstanceStarting"); n != 0 {
		t.Fatalf("%d starts", n)
	}
	if out := h.ctlOut("ls"); !contains(out, "offline") {
		t.Errorf("ls: %s", out)
	}
	if out := h.ctlOut("get", "web"); !contains(out, "app_offline.htm is in "+s.dir) {
		t.Errorf("get: %s", out)
	}
	// Renaming is how it is switched, and how a page is replaced.
	if err := os.Rename(filepath.Join(s.dir, "App_Offline.HTM"), filepath.Join(s.dir, "app_offline.htm.bak")); err != nil {
		t.Fatal(err)
	}
	s.online()
	s.put("APP_OFFLINE.htm", "one")
	s.offline("one")
	s.put("APP_OFFLINE.htm", "two")
	s.offline("two")
	// A folder of that name is none.
	s.remove("APP_OFFLINE.htm")
	if err := os.Mkdir(filepath.Join(s.dir, "app_offline.htm"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.online()
}

func TestOffline_FileThatCannotBeShownHasNoBody(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web")
	for name, put := range map[string]func() error{
		"nobody may read it": func() error { return os.WriteFile(filepath.Join(s.dir, "app_offline.htm"), []byte("x"), 0o000) },
		"a link out":         func() error { return os.Symlink("/etc/hostname", filepath.Join(s.dir, "app_offline.htm")) },
		"a pipe":             func() error { return syscall.Mkfifo(filepath.Join(s.dir, "app_offline.htm"), 0o644) },
		"above 1 MiB": func() error {
			return os.WriteFile(filepath.Join(s.dir, "app_offline.htm"), make([]byte, 1<<20+1), 0o644)
		},
	} {
		s.online()
		if err := put(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.offline("")
		s.remove("app_offline.htm")
	}
	s.online()
}

func TestOffline_FileGoesBeforeAStartThatFails(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web", func(spec *roostv1.AppSpec) {
		spec.Command = []string{"/bin/sh", "-c", "test -e fixed || exit 3; exec " + filepath.Join(bin, "testapp")}
	})
	if r := h.get("web", "/").wants(t, http.StatusBadGateway); r.header.Get("Roost-Error") != "start-failed" {
		t.Fatal(r)
	}
	s.put("app_offline.htm", "being mended")
	s.offline("being mended")
	s.put("fixed", "")
	s.remove("app_offline.htm")
	s.online()
}

func TestOffline_OpenRequestsFinishAndWebSocketsAreClosed(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web")
	ws := h.websocket("web")
	slow := make(chan reply, 1)
	go func() { slow <- h.get("web", "/sleep?for=2s") }()
	// A POST of which the app has seen half.
	post, err := dialClient(h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer post.close()
	if _, err := io.WriteString(post.conn, "POST /echo HTTP/1.1\r\nHost: web.test\r\nContent-Length: 10\r\n\r\nfirst"); err != nil {
		t.Fatal(err)
	}
	h.eventually("all three are open", func() bool { return h.inFlight("web") == 3 })
	pid := h.pids("web")[0]

	s.put("app_offline.htm", "x")
	if got := closedWith(t, ws); got != websocket.StatusGoingAway {
		t.Errorf("the WebSocket was closed with %d", got)
	}
	s.offline("x")
	if r := (<-slow).wants(t, http.StatusOK); r.body != "xxxxxxxxxx" {
		t.Errorf("the slow one got %v", r)
	}
	if err := syscall.Kill(int(pid), 0); err != nil {
		t.Fatalf("the app is gone under an open request: %v", err)
	}
	if _, err := io.WriteString(post.conn, "later"); err != nil {
		t.Fatal(err)
	}
	_ = post.conn.SetDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(bufio.NewReader(post.conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || string(body) != "firstlater" {
		t.Errorf("the POST got %d %q", resp.StatusCode, body)
	}
	s.empty()
}

// inFlight is how many requests of an app the daemon knows to be open.
func (h *host) inFlight(name string) int32 {
	h.Helper()
	n := int32(0)
	for _, i := range h.live(name) {
		n += i.InFlight
	}
	return n
}

func TestOffline_AddedAndRemovedUnderLoad(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web")
	s.online()
	l := startLoadAlso(h, "web", 4, 200, true, "offline")
	for i := range 20 {
		s.put("app_offline.htm", "x")
		if i%4 == 0 {
			s.offline("x")
		} else {
			time.Sleep(time.Duration(i*13%90) * time.Millisecond)
		}
		s.remove("app_offline.htm")
		if i%5 == 0 {
			s.online()
		} else {
			time.Sleep(time.Duration(i*29%150) * time.Millisecond)
		}
	}
	s.online()
	before := l.total()
	h.eventually("the load is answered again", func() bool { return l.total() > before+20 })
	l.end(t)
	if l.turned == 0 {
		t.Error("nothing was turned away: a test of nothing")
	}
	h.eventually("one instance is left", func() bool { return len(h.inFolder("web")) == 1 })
	if n := h.count("web", "StartFailed") + h.count("web", "AppBlocked"); n != 0 {
		t.Errorf("%d starts failed", n)
	}
}

func TestOffline_FollowsAFolderThatIsReplaced(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web")
	s.online()
	for i := range 3 {
		s.put("app_offline.htm", "deploying")
		s.offline("deploying")
		s.empty()
		next := filepath.Join(h.dir, "next")
		if err := errorsOf(os.Mkdir(next, 0o755), os.Chmod(next, 0o777), os.Rename(s.dir, filepath.Join(h.dir, fmt.Sprint("old", i))), os.Rename(next, s.dir)); err != nil {
			t.Fatal(err)
		}
		s.online()
	}
}

func TestOffline_ByCommandOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web")
	s.online()
	page := filepath.Join(h.dir, "page.html")
	if err := os.WriteFile(page, []byte("<p>closed</p>"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := h.ctlOut("offline", "web", "--page", page); !contains(out, "web is offline") {
		t.Errorf("it says %q", out)
	}
	// The command is done: nothing has to be waited for.
	if n := len(h.inFolder("web")); n != 0 {
		t.Fatalf("%d processes are left", n)
	}
	if r := h.get("web", "/").wants(t, http.StatusServiceUnavailable); r.body != "<p>closed</p>" || r.header.Get("Roost-Error") != "offline" {
		t.Fatal(r)
	}
	if r := h.do(http.MethodHead, "web", "/", nil).wants(t, http.StatusServiceUnavailable); r.body != "" || r.header.Get("Content-Length") != "13" {
		t.Errorf("HEAD: %v", r)
	}
	h.daemon.end(syscall.SIGKILL)
	h.get("web", "/").wants(t, http.StatusServiceUnavailable) // the proxy knows it by itself
	h.startDaemon()
	h.eventually("the daemon is back", func() bool {
		resp, err := h.apps.GetApp(t.Context(), &roostv1.GetAppRequest{Name: "web"})
		return err == nil && resp.App.State == roostv1.AppState_APP_STATE_OFFLINE
	})
	s.offline("<p>closed</p>")
	if code, _, errs := h.ctl("", "recycle", "web"); code != 5 || !contains(errs, "web is offline: roostctl online web") {
		t.Errorf("recycle: %d %s", code, errs)
	}

	s.put("app_offline.htm", "the folder's")
	h.eventually("the folder keeps it out, too", func() bool {
		code, _, errs := h.ctl("", "online", "web")
		return code == 1 && contains(errs, "app_offline.htm is in its folder")
	})
	s.offline("the folder's")
	s.remove("app_offline.htm")
	s.online()

	h.ctlOut("offline", "web")
	browser := http.Header{"Accept": {"text/html"}}
	if r := h.do(http.MethodGet, "web", "/", browser).wants(t, http.StatusServiceUnavailable); !contains(r.body, "<html") {
		t.Errorf("a browser got %v", r)
	}
	if r := h.get("web", "/").wants(t, http.StatusServiceUnavailable); r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a program got %v", r)
	}
	if out := h.ctlOut("online", "web"); !contains(out, "web is in service") {
		t.Errorf("it says %q", out)
	}
	h.get("web", "/").wants(t, http.StatusOK)
}

func TestOffline_LargePagesOfManyAppsReachTheProxy(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	page := strings.Repeat("p", 1<<20)
	const apps = 8 // together more than a message may have
	for i := range apps {
		name := fmt.Sprintf("web%d", i)
		spec := h.spec(name)
		s := &site{h, name, spec.Dir}
		s.put("app_offline.htm", page)
		h.apply(spec)
	}
	check := func() {
		t.Helper()
		for i := range apps {
			if r := h.get(fmt.Sprintf("web%d", i), "/").wants(t, http.StatusServiceUnavailable); r.body != page {
				t.Fatalf("%d bytes", len(r.body))
			}
		}
	}
	check()
	h.proxy.end(syscall.SIGKILL)
	_ = os.RemoveAll(filepath.Join(h.dir, "proxy")) // what it knew, it learns anew
	h.startProxy("127.0.0.1:0")
	h.eventually("the new proxy knows them", func() bool { return h.get("web0", "/").body == page })
	check()
}

func TestWatch_TouchesUnderLoad(t *testing.T) {
	for name, overlap := range map[string]bool{"overlapped": true, "one at a time": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			s := h.site("web", func(spec *roostv1.AppSpec) {
				spec.Recycle = &roostv1.Recycle{
					Overlap: new(overlap), MinReady: durationpb.New(100 * time.Millisecond),
					Watch: []string{"web.config"}, Settle: durationpb.New(150 * time.Millisecond),
				}
				spec.Requests = &roostv1.Requests{Queue: new(int32(1000))}
			})
			s.put("web.config", "0")
			s.online()
			l := startLoad(h, "web", 4, 200, true) // requests wait: not one is turned away
			for i := range 100 {
				switch i % 3 {
				case 0:
					now := time.Now()
					if err := os.Chtimes(filepath.Join(s.dir, "web.config"), now, now); err != nil {
						t.Fatal(err)
					}
				case 1:
					s.put("web.config", fmt.Sprint(i))
				default:
					if err := os.WriteFile(filepath.Join(s.dir, "web.config"), fmt.Append(nil, i), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				pause := 10 * time.Millisecond
				if i%10 == 9 {
					pause = 500 * time.Millisecond // so that it settles now and then
				}
				time.Sleep(pause)
			}
			h.eventually("it was recycled, and is done", func() bool {
				a := h.app("web")
				return h.count("web", "AppRecycled") > 1 && a.State == roostv1.AppState_APP_STATE_RUNNING &&
					len(h.inFolder("web")) == 1 && a.Rollout.GetPhase() == roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE
			})
			l.end(t)
			if n := h.count("web", "StartFailed"); n != 0 {
				t.Errorf("%d starts failed", n)
			}
		})
	}
}

func TestModule_OfflineCycle(t *testing.T) {
	eachModuleApp(t, func(t *testing.T, h *host, a moduleApp) {
		spec := a.spec(h, "web")
		h.apply(spec)
		s := &site{h, "web", spec.Dir}
		s.online()
		for _, page := range []string{"<p>first</p>", "<p>second</p>"} {
			done := a.busy(h, "web")
			s.put("app_offline.htm", page)
			s.offline(page)
			done()
			h.eventually("no process is left", func() bool { return h.app("web").Rollout.GetPhase() == roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE })
			if n := len(h.live("web")); n != 0 {
				t.Fatalf("%d instances are left", n)
			}
			s.remove("app_offline.htm")
			s.online()
		}
	})
}

func TestOffline_FileThatComesOrGoesWhileTheDaemonIsAway(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := h.site("web")
	s.online()
	h.daemon.end(syscall.SIGKILL)
	s.put("app_offline.htm", "x")
	h.get("web", "/").wants(t, http.StatusOK) // nobody is there to see it
	h.startDaemon()
	s.offline("x")
	s.empty()
	h.daemon.end(syscall.SIGKILL)
	s.remove("app_offline.htm")
	h.get("web", "/").wants(t, http.StatusServiceUnavailable)
	h.startDaemon()
	s.online()
}
