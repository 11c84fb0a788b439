package certs

import (
	"bytes"
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

func TestStore_Choice(t *testing.T) {
	f := newFolder(t)
	f.putPair("exact.example.org", issue(t, "exact.example.org"))
	f.putPair("_.example.org", issue(t, "*.example.org", "exact.example.org"))
	f.putPair("*.star.example", issue(t, "*.star.example"))
	f.putPair("Upper.Example", issue(t, "upper.example"))
	f.putPair("bundle", issue(t, "bundle", "named.example", "*.wild.example", "192.0.2.1"))
	f.look()
	f.notes.take()
	f.shows("exact.example.org", "exact.example.org")
	f.shows("EXACT.example.org", "exact.example.org")
	f.shows("other.example.org", "*.example.org")
	f.shows("a.b.example.org", "") // what a certificate's star stands for is one name
	f.shows("example.org", "")
	f.shows("x.star.example", "*.star.example")
	f.shows("upper.example", "upper.example")
	f.shows("named.example", "bundle")
	f.shows("any.wild.example", "bundle")
	f.shows("192.0.2.1", "bundle")
	f.shows("", "")
	f.putPair("default", issue(t, "fallback"))
	f.putPair("named.example", issue(t, "file"))
	f.look()
	f.says("does not name the host", "named.example.pem")
	f.shows("", "fallback")
	f.shows("stranger.example", "fallback")
	f.shows("named.example", "file") // the file's name is the operator's word
}

func TestStore_LongestValidOfTwo(t *testing.T) {
	f := newFolder(t)
	f.putPair("a", issueUntil(t, time.Now().Add(time.Hour), "a", "shared.example"))
	f.putPair("b", issueUntil(t, time.Now().Add(2*time.Hour), "b", "shared.example"))
	f.putPair("c", issueUntil(t, time.Now().Add(time.Minute), "c", "shared.example"))
	f.look()
	f.shows("shared.example", "b")
}

func TestStore_KeyInTheCertificatesFile(t *testing.T) {
	f, c := newFolder(t), issue(t, "h")
	f.put("h.pem", append(c.key, c.cert...))
	f.look()
	f.shows("h", "h")
}

func TestStore_WhatIsNotGoodChangesNothing(t *testing.T) {
	good, next, other := issue(t, "good"), issue(t, "next"), issue(t, "other")
	chain := append(bytes.Clone(next.cert), other.cert...)
	for _, tt := range []struct {
		name   string
		put    func(*folder)
		reason string
	}{
		{"empty", func(f *folder) { f.put("h.pem", nil) }, "PEM"},
		{"half written", func(f *folder) { f.put("h.pem", next.cert[:len(next.cert)/2]) }, "not complete"},
		{"chain half written", func(f *folder) {
			f.put("h.pem", chain[:len(chain)-100])
			f.put("h.key", next.key)
		}, "1 of 2 PEM blocks"},
		{"new certificate, old key", func(f *folder) { f.put("h.pem", next.cert) }, "does not match"},
		{"old certificate, new key", func(f *folder) { f.put("h.key", next.key) }, "does not match"},
		{"no key", func(f *folder) { f.fs.remove("h.key") }, "h.key is missing"},
		{"key half written", func(f *folder) { f.put("h.key", good.key[:40]) }, "key"},
		{"garbage", func(f *folder) { f.put("h.pem", []byte("\x00\x01")) }, "PEM"},
		{"a folder as the key", func(f *folder) {
			f.fs.remove("h.key")
			f.fs.set("h.key", &fstest.MapFile{Mode: fs.ModeDir})
		}, "no regular file"},
		{"too large", func(f *folder) { f.put("h.pem", make([]byte, maxFile+1)) }, "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t)
			f.putPair("h", good)
			f.putPair("other", other)
			f.look()
			f.says("certificate loaded", "certs/h.pem", "certs/other.pem")
			tt.put(f)
			f.look()
			f.says("certificate not used", "certs/h.pem", tt.reason, "earlier_one_stays=true")
			for range 2 {
				f.look()
				f.says() // once is enough
			}
			f.shows("h", "good")
			f.shows("other", "other")
			f.putPair("h", next)
			f.look()
			f.says("certificate loaded", "certs/h.pem")
			f.shows("h", "next")
			f.put("h.pem", good.cert)
			f.look()
			f.says("certificate not used") // again, for it was mended in between
		})
	}
}

// TestStore_BackToWhatItWas: files that are what was served before their fault are
// good again without being another certificate.
func TestStore_BackToWhatItWas(t *testing.T) {
	f, c := newFolder(t), issue(t, "h")
	f.putPair("h", c)
	f.look()
	f.put("h.pem", nil)
	f.look()
	f.notes.take()
	f.putPair("h", c)
	f.look()
	f.says("certificate loaded")
	f.put("h.pem", nil)
	f.look()
	f.says("certificate not used")
}

func TestStore_ComesAndGoes(t *testing.T) {
	f := newFolder(t)
	f.look()
	f.shows("h", "")
	f.put("h.pem.tmp", []byte("x"))
	f.put(".h.pem", []byte("x"))
	f.put("readme", []byte("x"))
	f.look()
	f.says()
	f.putPair("h", issue(t, "h"))
	f.look()
	f.says("certificate loaded")
	f.shows("h", "h")
	f.fs.remove("h.pem")
	f.look()
	f.says("certificate dropped", "certs/h.pem")
	f.shows("h", "")
	// A key that lies there alone is nobody's fault.
	f.look()
	f.says()
}

func TestStore_FolderThatCannotBeRead(t *testing.T) {
	f := newFolder(t)
	f.putPair("h", issue(t, "h"))
	f.look()
	f.notes.take()
	f.files = broken{}
	f.look()
	f.says("certificates cannot be looked at", "folder=certs", "gone away")
	f.look()
	f.says()
	f.shows("h", "h")
	f.files = f.fs
	f.look()
	f.shows("h", "h")
}

type broken struct{}

func (broken) Open(string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: ".", Err: errGone}
}

var errGone = errorString("gone away")

type errorString string

func (e errorString) Error() string { return string(e) }

func TestStore_OddButUsed(t *testing.T) {
	f := newFolder(t)
	f.putPair("h", issueUntil(t, time.Now().Add(-time.Hour), "h"))
	f.look()
	f.says("certificate is not valid now", "certs/h.pem")
	f.shows("h", "h")
}

func TestStore_Follow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFolder(t)
		changed := make(chan struct{})
		watched := 0
		ended := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { ended <- f.follow(ctx, changed, func() { watched++ }) }()
		synctest.Wait()

		// A look waits until both files are there.
		c := issue(t, "h")
		f.put("h.pem", c.cert)
		changed <- struct{}{}
		time.Sleep(settle / 2)
		f.put("h.key", c.key)
		changed <- struct{}{}
		time.Sleep(settle - 1)
		synctest.Wait()
		f.shows("h", "")
		time.Sleep(1)
		synctest.Wait()
		f.shows("h", "h")
		if got := f.notes.take(); strings.Contains(got, "not used") {
			t.Errorf("looked too soon: %s", got)
		}

		// What nobody tells of is found all the same, and changes that do not end
		// do not keep it from being.
		f.putPair("h", issue(t, "quiet"))
		time.Sleep(lookEvery)
		synctest.Wait()
		f.shows("h", "quiet")
		f.putPair("h", issue(t, "busy"))
		for range lookEvery / (settle / 2) {
			changed <- struct{}{}
			time.Sleep(settle / 2)
		}
		synctest.Wait()
		f.shows("h", "busy")
		if watched != 3 {
			t.Errorf("watched %d times, want at the start and at each of two ticks", watched)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
