package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	last atomic.Int64
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{TB: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a certificate for a host, or a person, and its key.
func (a *authority) issue(name string) tls.Certificate {
	a.Helper()
	key := newKey(a)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.last.Add(1)), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pem() []byte { return certPEM(a.cert.Raw) }

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(t testing.TB, c tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// front is a host whose proxy serves TLS too.
type front struct {
	*host
	ca    *authority // of the certificates that the proxy has
	certs string     // its --cert-dir
	https string     // where it serves TLS, as host:port
}

func newFront(t testing.TB, args ...string) *front {
	t.Helper()
	f := &front{host: newHost(t), ca: newAuthority(t, "servers")}
	f.certs = filepath.Join(f.dir, "certs")
	if err := os.Mkdir(f.certs, 0o700); err != nil {
		t.Fatal(err)
	}
	f.put("web.test", f.ca.issue("web.test"))
	f.restart(args...)
	return f
}

// restart has the proxy be one with other arguments.
func (f *front) restart(args ...string) {
	f.Helper()
	f.proxy.end(syscall.SIGTERM)
	f.startProxy("127.0.0.1:0", append([]string{"--listen-tls", "127.0.0.1:0", "--cert-dir", f.certs}, args...)...)
	f.https = f.proxy.address("https")
	f.awaitProxy()
}

// put writes a certificate as tools do: each file appears whole.
func (f *front) put(host string, c tls.Certificate) {
	f.Helper()
	f.write(host+".key", keyPEM(f, c))
	f.write(host+".pem", certPEM(c.Certificate[0]))
}

func (f *front) write(name string, b []byte) {
	f.Helper()
	tmp := filepath.Join(f.dir, name+".tmp")
	if err := errorsOf(os.WriteFile(tmp, b, 0o600), os.Rename(tmp, filepath.Join(f.certs, name))); err != nil {
		f.Fatal(err)
	}
}

// config is that of a client that believes the authority, and says who it is where it
// has certificates.
func (f *front) config(name string, own ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(f.ca.cert)
	c := &tls.Config{RootCAs: roots, ServerName: name + ".test"}
	if len(own) > 0 {
		// Whatever the server would like it to be.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own[0], nil }
	}
	return c
}

// dial connects and makes the handshake.
func (f *front) dial(config *tls.Config) (*tls.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: config}
	c, err := d.Dial("tcp", f.https)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// secure asks for https://NAME.test/path.
func (f *front) secure(name, path string, header http.Header, own ...tls.Certificate) reply {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: f.config(name, own...)}
	return f.doBy(transport, http.MethodGet, "https://"+f.https+path, name, header)
}

// shown is the serial number of the certificate that a client is shown.
func (f *front) shown(name string) int64 {
	c, err := f.dial(f.config(name))
	if err != nil {
		f.Log(err)
		return 0
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}
