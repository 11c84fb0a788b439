package e2e

import (
	"bytes"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed kerberos_app.py
var kerberosApp []byte

// realm is a Kerberos realm of a test's own: a database, a key distribution
// center on a port of this machine, and what clients and apps need to know.
type realm struct {
	testing.TB
	dir   string
	port  int
	tools map[string]string
}

const krb5Conf = `[libdefaults]
 default_realm = ROOST.TEST
 dns_lookup_realm = false
 dns_lookup_kdc = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
[realms]
 ROOST.TEST = {
  kdc = 127.0.0.1:%d
 }
[domain_realm]
 .test = ROOST.TEST
`

const kdcConf = `[kdcdefaults]
 kdc_listen = ""
 kdc_tcp_listen = 127.0.0.1:%[1]d
[realms]
 ROOST.TEST = {
  database_name = %[2]s/principal
  key_stash_file = %[2]s/stash
  max_life = 1h
 }
[logging]
 kdc = FILE:%[2]s/kdc.log
`

// newRealm makes a realm whose users have their names as passwords, and starts
// its KDC. It skips the test where Kerberos is not installed.
func newRealm(t testing.TB, service string, users ...string) *realm {
	t.Helper()
	r := &realm{TB: t, dir: t.TempDir(), tools: map[string]string{}}
	for _, name := range []string{"kdb5_util", "kadmin.local", "krb5kdc", "kinit"} {
		r.tools[name] = findTool(t, name)
	}
	r.configure()
	r.run("", "kdb5_util", "create", "-s", "-r", "ROOST.TEST", "-P", "master")
	for _, user := range users {
		r.run("", "kadmin.local", "addprinc", "-pw", user, user)
	}
	r.run("", "kadmin.local", "addprinc", "-randkey", service)
	r.run("", "kadmin.local", "ktadd", "-k", r.path("keytab"), service)
	// The app may run as another user.
	if err := os.Chmod(r.path("keytab"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if r.serve() {
			return r
		}
		r.configure() // somebody else has the port
	}
	t.Fatal("the KDC does not run")
	return nil
}

// configure writes the realm's files for a port that is free now.
func (r *realm) configure() {
	r.Helper()
	r.port = freePort(r)
	r.write("krb5.conf", fmt.Sprintf(krb5Conf, r.port))
	r.write("kdc.conf", fmt.Sprintf(kdcConf, r.port, r.dir))
}

// findTool finds what is for administrators in folders that are not in
// everybody's PATH.
func findTool(t testing.TB, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed (Debian: krb5-kdc, krb5-admin-server, krb5-user)", name)
	return ""
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func (r *realm) path(name string) string { return filepath.Join(r.dir, name) }

func (r *realm) write(name, text string) {
	r.Helper()
	if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

// env is what every program of the realm needs; each user's tickets are apart.
func (r *realm) env(user string) []string {
	return append(os.Environ(), "KRB5_CONFIG="+r.path("krb5.conf"), "KRB5_KDC_PROFILE="+r.path("kdc.conf"), "KRB5CCNAME=FILE:"+r.path("tickets-"+user))
}

func (r *realm) run(stdin, name string, args ...string) {
	r.Helper()
	cmd := exec.CommandContext(r.Context(), r.tools[name], args...)
	cmd.Env, cmd.Stdin = r.env("none"), strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
}

// serve runs the KDC until the test ends. It reports false if the KDC has ended
// instead of listening.
func (r *realm) serve() bool {
	r.Helper()
	var out bytes.Buffer
	cmd := exec.Command(r.tools["krb5kdc"], "-n", "-P", r.path("kdc.pid"))
	cmd.Env, cmd.Stdout, cmd.Stderr = r.env("none"), &out, &out
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	r.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if r.Failed() {
			log, _ := os.ReadFile(r.path("kdc.log"))
			r.Logf("--- log of the KDC\n%s%s", out.String(), log)
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
		if err == nil {
			_ = c.Close()
			return !closed(ended) // else it is somebody else who listens
		}
		if closed(ended) {
			r.Logf("the KDC has ended: %s", out.String())
			return false
		}
		if time.Now().After(deadline) {
			r.Fatalf("the KDC does not listen: %v", err)
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// login gets a user's ticket.
func (r *realm) login(user string) {
	r.Helper()
	cmd := exec.CommandContext(r.Context(), r.tools["kinit"], user)
	cmd.Env, cmd.Stdin = r.env(user), strings.NewReader(user+"\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("kinit %s: %v\n%s", user, err, out)
	}
}

// curl asks n times on one connection, and returns the app's answers.
func (r *realm) curl(user, proxy string, n int, args ...string) ([]string, error) {
	_, port, _ := net.SplitHostPort(proxy)
	args = append([]string{"-sS", "-q", "--noproxy", "*", "--max-time", "30", "-u", ":", "--resolve", "web.test:" + port + ":127.0.0.1"}, args...)
	for i := range n {
		args = append(args, fmt.Sprintf("http://web.test:%s/%d", port, i))
	}
	cmd := exec.CommandContext(r.Context(), "curl", args...)
	cmd.Env = r.env(user)
	out, err := cmd.Output()
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), err
}

// pythonWithGSSAPI finds the Python that Debian's packages are for, be it the
// first of the PATH or not.
func pythonWithGSSAPI(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		out, err := exec.CommandContext(t.Context(), name, "-c", "import gssapi, sys; print(sys.executable)").Output()
		if err == nil {
			return strings.TrimSpace(string(out))
		}
	}
	t.Skip("no Python with gssapi is installed (Debian: python3-gssapi)")
	return ""
}

// TestIdentity_Kerberos: an app with a keytab authenticates users by their
// tickets through the proxy, both those who show it unasked and those who wait
// to be asked, each on a connection to the app of its own.
func TestIdentity_Kerberos(t *testing.T) {
	t.Parallel()
	python := pythonWithGSSAPI(t)
	if out, err := exec.CommandContext(t.Context(), "curl", "--version").Output(); err != nil || !contains(string(out), "SPNEGO") {
		t.Skipf("no curl with SPNEGO is installed: %v", err)
	}
	r := newRealm(t, "HTTP/web.test", "ada", "bob")
	h := newHost(t)
	spec := h.spec("web")
	if err := os.WriteFile(filepath.Join(spec.Dir, "app.py"), kerberosApp, 0o644); err != nil {
		t.Fatal(err)
	}
	spec.Command = []string{python, "app.py"}
	spec.Env = map[string]string{
		"KRB5_CONFIG": r.path("krb5.conf"), "KRB5_KTNAME": "FILE:" + r.path("keytab"),
		"KRB5RCACHENAME": "file2:" + filepath.Join(spec.Dir, "replays"), // a ticket shown twice is refused
	}
	h.apply(spec)
	h.get("web", "/").wants(t, http.StatusUnauthorized)
	r.login("ada")
	r.login("bob")

	var all sync.WaitGroup
	for i := range 8 {
		user, how := []string{"ada", "bob", "nobody"}[i%3], []string{"--negotiate", "--anyauth"}[i/3%2]
		all.Go(func() {
			for range 3 {
				got, err := r.curl(user, h.url, 4, how)
				if err != nil || len(got) != 4 {
					t.Errorf("curl %s of %s: %v %q", how, user, err, got)
					continue
				}
				want := map[string]string{"ada": "ada@ROOST.TEST ", "bob": "bob@ROOST.TEST ", "nobody": "None "}[user]
				for _, answer := range got {
					if !strings.HasPrefix(answer, want) || user != "nobody" && answer != got[0] {
						t.Errorf("curl %s of %s: the app knows it as %q", how, user, got)
						break
					}
				}
			}
		})
	}
	all.Wait()
	for range 10 {
		h.get("web", "/").wants(t, http.StatusUnauthorized)
	}
}
