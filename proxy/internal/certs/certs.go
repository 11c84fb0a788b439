// Package certs has the certificates of the TLS front: those that lie in a
// folder, which of them a client is shown, and what changes there.
//
// A file HOST.pem has the chain for HOST, HOST.key its key, which may be in the
// .pem as well. A certificate that cannot be used, because it is only half there
// or its key is another's, changes nothing: the one before it stays.
package certs

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// Store has the certificates of a folder. Run keeps them as the folder has them.
type Store struct {
	dir   string
	files fs.FS
	log   hclog.Logger
	table atomic.Pointer[table]

	// Of whoever looks: New, and then Run.
	pairs map[string]pair // by the files' name without its ending
	fault string          // why the folder could not be read when it was last looked at
}

// New returns a Store of what is in dir now.
func New(dir string, log hclog.Logger) (*Store, error) {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is no folder", dir)
	}
	s := newStore(dir, os.DirFS(dir), log)
	if _, err := fs.ReadDir(s.files, "."); err != nil {
		return nil, err
	}
	s.look()
	if len(s.table.Load().files) == 0 {
		log.Warn("no certificate yet: TLS handshakes fail until one is there", "folder", dir, "wanted", "<host>.pem and <host>.key, or default.pem and default.key")
	}
	return s, nil
}

func newStore(dir string, files fs.FS, log hclog.Logger) *Store {
	s := &Store{dir: dir, files: files, log: log}
	s.table.Store(newTable(nil))
	return s
}

// Certificate is for tls.Config.GetCertificate. It answers nil where there is
// none, which clients see as "unrecognized name".
func (s *Store) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(hello.ServerName)
	if host == "" {
		host = address(hello.Conn)
	}
	c := s.table.Load().find(host)
	if c == nil {
		s.log.Debug("no certificate for this host, and no default.pem", "host", host, "folder", s.dir)
	}
	return c, nil
}

// address is what a client that names no host has connected to.
func address(c net.Conn) string {
	if c == nil {
		return ""
	}
	if a, ok := c.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("").String()
	}
	return ""
}
