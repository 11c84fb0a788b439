package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
	"github.com/roostd/roost/proxy/internal/certs"
	"github.com/roostd/roost/proxy/internal/discovery/fakedaemon"
)

// certDir is a folder with a certificate for every host.
func certDir(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"shop"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string]*pem.Block{
		"default.pem": {Type: "CERTIFICATE", Bytes: der}, "default.key": {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRun_ServesTLSAndTellsTheDaemon(t *testing.T) {
	h := newHost(t)
	h.certs = certDir(t)
	set := h.instance("shop", "i1", 1, says("over TLS"))
	set.Routes[0].Https = roostv1.HttpsPolicy_HTTPS_POLICY_REDIRECT
	d := fakedaemon.New(1, set)
	h.serve(d)
	h.start()
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+h.https+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "shop"
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "over TLS" {
		t.Errorf("%q, %v", body, err)
	}
	_, port, _ := net.SplitHostPort(h.https)
	clear, _ := h.get("shop", "/x")
	if got, want := clear.Header.Get("Location"), "https://shop:"+port+"/x"; clear.StatusCode != 308 || got != want {
		t.Errorf("in clear text: %s, Location %q, want %q", clear.Status, got, want)
	}
	m, _ := d.Await(t.Context(), 0, func(m *roostv1.ReportRequest) bool { return m.GetHello() != nil })
	var told []string
	for _, l := range m.GetHello().GetListeners() {
		if l.GetKind() == roostv1.ListenerKind_LISTENER_KIND_HTTPS {
			told = append(told, strconv.Itoa(int(l.GetPort())))
		}
	}
	if len(told) != 1 || told[0] != port {
		t.Errorf("told of TLS at %v, want %s", told, port)
	}
}

func TestSecure_Faults(t *testing.T) {
	dir := certDir(t)
	for want, c := range map[string]config{
		"--cert-dir":  {certDir: filepath.Join(dir, "missing")},
		"--client-ca": {certDir: dir, clientAuth: certs.Require, clientCA: filepath.Join(dir, "default.key")},
	} {
		c.listenTLS, c.log = []string{"127.0.0.1:0"}, hclog.NewNullLogger()
		if _, _, err := c.secure(); err == nil || !strings.HasPrefix(err.Error(), want+": ") {
			t.Errorf("%v, want a fault of %s", err, want)
		}
	}
}
