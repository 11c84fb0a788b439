package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 10 * time.Second

// write puts a pair into a folder as an operator would.
func write(t testing.TB, dir, host string, c files) {
	t.Helper()
	for name, b := range map[string][]byte{host + ".pem": c.cert, host + ".key": c.key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func clientOf(t testing.TB, c files) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// shake makes a handshake and reads a byte. It returns what either side found.
func shake(t testing.TB, server, client *tls.Config) (client2 tls.ConnectionState, peer []*x509.Certificate, err error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var serving sync.WaitGroup
	defer serving.Wait()
	serving.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(patience))
		s := tls.Server(nc, server)
		if s.Handshake() == nil {
			peer = s.ConnectionState().PeerCertificates
			s.Write([]byte("x"))
		}
	})
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	c := tls.Client(nc, client)
	if _, err = c.Read(make([]byte, 1)); err != nil {
		nc.Close()
	}
	serving.Wait()
	return c.ConnectionState(), peer, err
}

func TestConfig_ClientCertificates(t *testing.T) {
	dir, notes := t.TempDir(), new(journal)
	write(t, dir, "default", issue(t, "server"))
	s, err := New(dir, notes.logger())
	if err != nil {
		t.Fatal(err)
	}
	known, stranger, expired := issue(t, "known"), issue(t, "stranger"), issueUntil(t, time.Now().Add(-time.Hour), "old")
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, append(known.cert, expired.cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	cas, err := ReadCAs(ca)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		auth   ClientAuth
		client *files
		ok     bool
		seen   string
	}{
		{Off, &known, true, ""},
		{Request, nil, true, ""},
		{Request, &known, true, "known"},
		{Request, &stranger, true, "stranger"},
		{Request, &expired, true, "old"},
		{Require, nil, false, ""},
		{Require, &known, true, "known"},
		{Require, &stranger, false, ""},
		{Require, &expired, false, ""},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := &tls.Config{InsecureSkipVerify: true, MaxVersion: version} // the server's is not what this is about
			if tt.client != nil {
				pair := clientOf(t, *tt.client)
				// As programs do that do not look at what the server would like.
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			_, peer, err := shake(t, s.Config(tt.auth, cas), client)
			seen := ""
			if len(peer) > 0 {
				seen = peer[0].Subject.CommonName
			}
			if (err == nil) != tt.ok || seen != tt.seen {
				t.Errorf("%s, %v: %v, seen %q, want %v %q", tt.auth, tt.client != nil, err, seen, tt.ok, tt.seen)
			}
		}
	}
	// Where any certificate will do, clients must not keep theirs back.
	pair := clientOf(t, stranger)
	_, peer, err := shake(t, s.Config(Request, cas), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	if err != nil || len(peer) != 1 {
		t.Errorf("%d certificates, %v", len(peer), err)
	}
}

func TestConfig_NoCertificate(t *testing.T) {
	s, err := New(t.TempDir(), new(journal).logger())
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = shake(t, s.Config(Off, nil), &tls.Config{InsecureSkipVerify: true, ServerName: "h"})
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("%v", err)
	}
}

func TestReadCAs_Faults(t *testing.T) {
	dir, c := t.TempDir(), issue(t, "ca")
	for name, b := range map[string][]byte{"none": c.key, "half": c.cert[:100], "empty": nil} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadCAs(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want a fault that names the file", name, err)
		}
	}
	if _, err := ReadCAs(filepath.Join(dir, "missing")); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

func TestNew_Faults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "-missing"} {
		if _, err := New(dir, new(journal).logger()); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%v, want a fault that names %s", err, dir)
		}
	}
	notes := new(journal)
	if _, err := New(t.TempDir(), notes.logger()); err != nil || !strings.Contains(notes.take(), "no certificate yet") {
		t.Errorf("an empty folder: %v", err)
	}
}

// TestStore_Run: on a real folder, changed in the ways that tools do it.
func TestStore_Run(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	notes := new(journal)
	write(t, dir, "h", issue(t, "first"))
	s, err := New(dir, notes.logger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	shows := func(want string) {
		t.Helper()
		deadline := time.Now().Add(3 * lookEvery)
		for {
			got := ""
			if c, _ := s.Certificate(&tls.ClientHelloInfo{ServerName: "h"}); c != nil {
				got = c.Leaf.Subject.CommonName
			}
			if got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("shows %q, want %q; %s", got, want, notes.take())
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	shows("first")
	write(t, dir, "h", issue(t, "in place"))
	shows("in place")
	write(t, elsewhere, "h", issue(t, "renamed"))
	for _, name := range []string{"h.pem", "h.key"} {
		if err := os.Rename(filepath.Join(elsewhere, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	shows("renamed")
	write(t, elsewhere, "live", issue(t, "linked"))
	for _, ending := range []string{".pem", ".key"} {
		_ = os.Remove(filepath.Join(dir, "h"+ending))
		if err := os.Symlink(filepath.Join(elsewhere, "live"+ending), filepath.Join(dir, "h"+ending)); err != nil {
			t.Fatal(err)
		}
	}
	shows("linked")
	_ = os.Remove(filepath.Join(dir, "h.pem"))
	shows("")
}
