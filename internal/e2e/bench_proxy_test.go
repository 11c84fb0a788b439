package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkProxy reports requests per CPU-second on GET 1 KB over keep-alive
// connections: ours, as it is by default and with its access log on, nginx's
// without a log, and httputil.ReverseProxy's, in turns within one run. Load and backend share one core, the proxy has the other to itself. The
// ratios are medians over the rounds of (it / nginx) of the same round: the
// machine's speed varies more than the proxies do.
func BenchmarkProxy(b *testing.B) {
	for _, tool := range []string{"nginx", "wrk", "taskset"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is not installed (Debian: nginx-light wrk util-linux)", tool)
		}
	}
	h := newHost(b)
	backend := h.serveFixed()
	reference := startNginx(b, backend)
	rivals := append(h.ours(b), reference, startReverseProxy(b, backend))
	const rounds = 5
	for b.Loop() {
		for round := range rounds {
			for i := range rivals {
				rivals[(i+round)%len(rivals)].measure(b)
			}
		}
	}
	for _, r := range rivals {
		b.ReportMetric(medianOf(r.perCPU), r.name+"-req/cpu-s")
	}
	for _, r := range rivals {
		if r == reference {
			continue
		}
		ratios := make([]float64, len(r.perCPU))
		for i := range ratios {
			ratios[i] = r.perCPU[i] / reference.perCPU[i]
		}
		b.ReportMetric(medianOf(ratios), r.name+"/nginx")
	}
	b.ReportMetric(0, "ns/op")
}

func medianOf(f []float64) float64 {
	f = slices.Sorted(slices.Values(f))
	return f[len(f)/2]
}

// rival is a proxy that is measured.
type rival struct {
	name   string
	url    string
	host   string
	pids   func() []int
	perCPU []float64
}

var requestsRE = regexp.MustCompile(`(\d+) requests in`)

// measure loads the rival for some seconds and notes its requests per second of
// its own CPU time.
func (r *rival) measure(b *testing.B) {
	b.Helper()
	before := usageOf(b, r.pids()...)
	out, err := exec.Command("taskset", "-c", "0", "wrk", "-t1", "-c64", "-d3s", "-H", "Host: "+r.host, r.url).CombinedOutput()
	if err != nil {
		b.Fatalf("wrk: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "Non-2xx") || strings.Contains(string(out), "Socket errors") {
		b.Fatalf("%s: %s", r.name, out)
	}
	used := usageOf(b, r.pids()...).cpu - before.cpu
	m := requestsRE.FindStringSubmatch(string(out))
	if m == nil {
		b.Fatalf("wrk printed no count:\n%s", out)
	}
	n, _ := strconv.ParseFloat(m[1], 64)
	r.perCPU = append(r.perCPU, n/used.Seconds())
	b.Logf("%-8s %8.0f requests, %6.2f CPU-s, %8.0f per CPU-s", r.name, n, used.Seconds(), n/used.Seconds())
}

// pin ties a process with all its threads to the proxy's core.
func pin(b *testing.B, pid, core int) {
	b.Helper()
	if out, err := exec.Command("taskset", "-a", "-p", "-c", strconv.Itoa(core), strconv.Itoa(pid)).CombinedOutput(); err != nil {
		b.Fatalf("taskset: %v\n%s", err, out)
	}
}

// serveFixed has Roost host nginx as an app that answers 1 KB from memory, and
// returns its address.
func (h *host) serveFixed() string {
	spec := h.spec("web")
	conf := fmt.Sprintf(nginxConf, ".", fmt.Sprintf(`server { listen 127.0.0.1:PORT; keepalive_requests 1000000000; location / { return 200 "%s"; } }`, strings.Repeat("x", 1024)))
	if err := os.WriteFile(filepath.Join(spec.Dir, "nginx.conf.in"), []byte(conf), 0o600); err != nil {
		h.Fatal(err)
	}
	spec.Command = []string{"/bin/sh", "-c", `sed "s/:PORT/:$PORT/" nginx.conf.in > nginx.conf && exec taskset -c 0 nginx -c "$PWD/nginx.conf" -p "$PWD"`}
	h.apply(spec)
	h.get("web", "/").wants(h, http.StatusOK)
	return h.live("web")[0].Address
}

// nginxConf has places for a folder and for servers.
const nginxConf = `daemon off; master_process off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 4096; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
%[2]s }`

func startNginx(b *testing.B, backend string) *rival {
	addr := freeAddr(b)
	pids := nginx(b, 1, fmt.Sprintf(`
		upstream app { server %s; keepalive 256; keepalive_requests 1000000000; }
		server { listen %s; keepalive_requests 1000000000; location / {
			proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
			proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
			proxy_buffers 16 16k; proxy_max_temp_file_size 0; } }`, backend, addr))
	waitFor(b, addr)
	return &rival{name: "nginx", url: "http://" + addr + "/", host: "web.test", pids: pids}
}

// nginx runs one with the given servers, pinned to a core.
func nginx(b *testing.B, core int, servers string) (pids func() []int) {
	dir := b.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nginxConf, dir, servers)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("taskset", "-c", strconv.Itoa(core), "nginx", "-c", conf, "-p", dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return func() []int { return []int{cmd.Process.Pid} }
}

// startReverseProxy runs httputil.ReverseProxy, tuned, as a process of its own.
func startReverseProxy(b *testing.B, backend string) *rival {
	addr := freeAddr(b)
	cmd := exec.Command("taskset", "-c", "1", os.Args[0], "-test.run", "^TestReverseProxyProcess$")
	cmd.Env = append(os.Environ(), "ROOST_E2E_REVERSE_PROXY="+addr+" "+backend, "GOMAXPROCS=1")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(b, addr)
	return &rival{name: "httputil", url: "http://" + addr + "/", host: "web.test", pids: func() []int { return []int{cmd.Process.Pid} }}
}

// TestReverseProxyProcess is not a test: it is the process that BenchmarkProxy
// compares with, and does nothing when it is not asked to be that.
func TestReverseProxyProcess(t *testing.T) {
	listen, backend, ok := strings.Cut(os.Getenv("ROOST_E2E_REVERSE_PROXY"), " ")
	if !ok {
		t.Skip("run by BenchmarkProxy only")
	}
	target := &url.URL{Scheme: "http", Host: backend}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport: &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true},
	}
	t.Fatal(http.ListenAndServe(listen, proxy))
}

// ours is roost-proxy with its defaults, and the tests' own, which writes an access
// log.
func (h *host) ours(b *testing.B) []*rival {
	plain := start(b, "roost-proxy", "--listen", "127.0.0.1:0", "--daemon", "unix://"+h.socket, "--state-dir", filepath.Join(h.dir, "plain"))
	h.endFirst(plain)
	var ours []*rival
	for _, p := range []struct {
		name string
		*program
	}{{"roost", plain}, {"roost-logging", h.proxy}} {
		pin(b, p.pid(), 1)
		ours = append(ours, &rival{name: p.name, url: "http://" + p.address("http") + "/", host: "web.test", pids: func() []int { return []int{p.pid()} }})
	}
	return ours
}

func freeAddr(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func waitFor(b *testing.B, addr string) {
	deadline := time.Now().Add(patience)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
