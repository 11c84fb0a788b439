package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files are a certificate and its key as files have them.
type files struct{ cert, key []byte }

var serial int64

// issue makes a certificate for names, the first of which is its subject.
func issue(t testing.TB, names ...string) files {
	return issueUntil(t, time.Now().Add(time.Hour), names...)
}

func issueUntil(t testing.TB, until time.Time, names ...string) files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until, BasicConstraintsValid: true, IsCA: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return files{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
}

// journal is a log that can be read.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// take returns what was logged since it was last called.
func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.b.Reset()
	return j.b.String()
}

func (j *journal) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: j})
}

// folder is a Store of files that a test changes.
type folder struct {
	*Store
	t     testing.TB
	fs    *shared
	notes *journal
}

// shared is a file system that may be changed while it is read.
type shared struct {
	mu    sync.Mutex
	files fstest.MapFS
}

func (s *shared) Open(name string) (fs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files.Open(name)
}

func (s *shared) set(name string, f *fstest.MapFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = f
}

func (s *shared) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, name)
}

func newFolder(t testing.TB) *folder {
	f := &folder{t: t, fs: &shared{files: fstest.MapFS{}}, notes: new(journal)}
	f.Store = newStore("certs", f.fs, f.notes.logger())
	return f
}

func (f *folder) put(name string, b []byte) { f.fs.set(name, &fstest.MapFile{Data: b}) }

func (f *folder) putPair(host string, c files) {
	f.put(host+".pem", c.cert)
	f.put(host+".key", c.key)
}

// shows checks which certificate, by its subject, a client that asks for host is
// shown; "" is none.
func (f *folder) shows(host, want string) {
	f.t.Helper()
	c, err := f.Certificate(&tls.ClientHelloInfo{ServerName: host})
	if err != nil {
		f.t.Fatal(err)
	}
	got := ""
	if c != nil {
		got = c.Leaf.Subject.CommonName
	}
	if got != want {
		f.t.Errorf("%s is shown %q, want %q", host, got, want)
	}
}

// says checks that the log has gained all of these words, or nothing where there
// are none.
func (f *folder) says(words ...string) {
	f.t.Helper()
	got := f.notes.take()
	if len(words) == 0 && got != "" {
		f.t.Errorf("logged %q, want nothing", got)
	}
	for _, w := range words {
		if !strings.Contains(got, w) {
			f.t.Errorf("logged %q, want %q in it", got, w)
		}
	}
}
