package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOpenToAll(t *testing.T) {
	if !openToAll("/usr/bin") {
		t.Error("/usr/bin is said to be closed")
	}
	dir, err := os.MkdirTemp("/tmp", "roost-open-") // t.TempDir's parents may be closed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	inside := filepath.Join(dir, "inside")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if openToAll(inside) {
		t.Error("what lies in a folder of mode 0700 is said to be open")
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if !openToAll(inside) {
		t.Error("what lies in a folder of mode 0711 is said to be closed")
	}
	if openToAll(filepath.Join(dir, "missing")) {
		t.Error("what does not exist is said to be open")
	}
}
