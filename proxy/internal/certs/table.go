package certs

import (
	"crypto/tls"
	"strings"
)

// fallback is the name of the files for every host that has no others.
const fallback = "default"

// table finds the certificate for a host. It does not change.
type table struct {
	files map[string]*tls.Certificate // by the host that the file's name gives
	names map[string]*tls.Certificate // by those that the certificates give
}

func newTable(pairs map[string]pair) *table {
	t := &table{map[string]*tls.Certificate{}, map[string]*tls.Certificate{}}
	for file, p := range pairs {
		if p.cert == nil {
			continue
		}
		t.files[hostOf(file)] = p.cert
		for _, name := range p.cert.Leaf.DNSNames {
			t.add(strings.ToLower(name), p.cert)
		}
		for _, ip := range p.cert.Leaf.IPAddresses {
			t.add(ip.String(), p.cert)
		}
	}
	return t
}

// add has the certificate that is valid for longest count.
func (t *table) add(name string, c *tls.Certificate) {
	if other := t.names[name]; other == nil || c.Leaf.NotAfter.After(other.Leaf.NotAfter) {
		t.names[name] = c
	}
}

// hostOf is the host of a file's name. A star is awkward in one, so _.example.org
// stands for *.example.org.
func hostOf(file string) string {
	file = strings.ToLower(file)
	if rest, ok := strings.CutPrefix(file, "_."); ok {
		return "*." + rest
	}
	return file
}

// find looks for a file of the host's name, then for a certificate that names it;
// for either, the host itself comes before a wildcard for it.
func (t *table) find(host string) *tls.Certificate {
	wild := host
	if _, parent, ok := strings.Cut(host, "."); ok {
		wild = "*." + parent
	}
	for _, by := range []map[string]*tls.Certificate{t.files, t.names} {
		for _, name := range []string{host, wild} {
			if c := by[name]; c != nil {
				return c
			}
		}
	}
	return t.files[fallback]
}
