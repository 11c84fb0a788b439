package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxFile bounds a file: chains are a few kilobytes.
const maxFile = 1 << 20

// pair is a certificate's files as they were when they were last looked at.
type pair struct {
	digest [sha256.Size]byte
	cert   *tls.Certificate // the last good one; nil if there was none
	fault  string           // why what is there is not used
}

// look brings the certificates up to what is in the folder.
func (s *Store) look() {
	names, err := s.names()
	if err != nil {
		if s.fault != err.Error() {
			s.fault = err.Error()
			s.log.Warn("certificates cannot be looked at: those that are known stay", "folder", s.dir, "error", err)
		}
		return
	}
	s.fault = ""
	pairs := map[string]pair{}
	for _, name := range names {
		pairs[name] = s.renew(name, s.pairs[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.pairs)) {
		if _, ok := pairs[name]; !ok && s.pairs[name].cert != nil {
			s.log.Info("certificate dropped: its file is gone", "file", s.path(name+".pem"))
		}
	}
	s.pairs = pairs
	s.table.Store(newTable(pairs))
}

// names lists the files HOST.pem, without their ending.
func (s *Store) names() ([]string, error) {
	entries, err := fs.ReadDir(s.files, ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".pem")
		if ok && name != "" && name[0] != '.' && !e.IsDir() {
			names = append(names, name)
		}
	}
	return names, nil
}

// renew returns what the files of a name have become.
func (s *Store) renew(name string, was pair) pair {
	chain, key, err := s.read(name)
	digest := sha256.Sum256(slices.Concat(chain, []byte{0}, key))
	if err == nil && digest == was.digest {
		return was
	}
	var cert *tls.Certificate
	if err == nil {
		cert, err = parse(chain, key)
	}
	if err != nil {
		if err.Error() != was.fault {
			s.log.Warn("certificate not used", "file", s.path(name+".pem"), "error", err, "earlier_one_stays", was.cert != nil)
		}
		return pair{digest, was.cert, err.Error()}
	}
	s.loaded(name, cert)
	return pair{digest, cert, ""}
}

// read returns the files' bytes. A key may be in the certificate's file.
func (s *Store) read(name string) (chain, key []byte, err error) {
	if chain, err = readFile(s.files, name+".pem"); err != nil {
		return nil, nil, err
	}
	key, err = readFile(s.files, name+".key")
	if errors.Is(err, fs.ErrNotExist) {
		if bytes.Contains(chain, []byte("PRIVATE KEY-----")) {
			return chain, chain, nil
		}
		err = fmt.Errorf("%s.key is missing", name)
	}
	return chain, key, err
}

func readFile(files fs.FS, name string) ([]byte, error) {
	// Asked first: to open a pipe would wait for who writes to it.
	info, err := fs.Stat(files, name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", name)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func parse(chain, key []byte) (*tls.Certificate, error) {
	if err := whole(chain); err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &cert, nil
}

// whole refuses a chain that breaks off: what decodes such files just leaves out
// what it does not understand.
func whole(chain []byte) error {
	begun, ended := bytes.Count(chain, []byte("-----BEGIN ")), 0
	for rest := chain; ; ended++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
	}
	if begun != ended {
		return fmt.Errorf("%d of %d PEM blocks are damaged or not complete", begun-ended, begun)
	}
	return nil
}

// loaded tells of a new certificate, and of what is odd about it.
func (s *Store) loaded(name string, c *tls.Certificate) {
	file, leaf := s.path(name+".pem"), c.Leaf
	s.log.Info("certificate loaded", "file", file, "names", strings.Join(leaf.DNSNames, ","), "until", leaf.NotAfter.UTC().Format(time.RFC3339))
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		s.log.Warn("certificate is not valid now", "file", file, "from", leaf.NotBefore, "until", leaf.NotAfter)
	}
	host := strings.Replace(hostOf(name), "*.", "any.", 1)
	if host != fallback && leaf.VerifyHostname(host) != nil {
		s.log.Warn("certificate does not name the host that its file does", "file", file, "names", strings.Join(leaf.DNSNames, ","))
	}
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }
