package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
)

// ClientAuth is what clients are asked for.
type ClientAuth string

// A client is asked for no certificate, for any that it has, or for one that must
// be there and be good.
const (
	Off     ClientAuth = "off"
	Request ClientAuth = "request"
	Require ClientAuth = "require"
)

// Config is TLS with the store's certificates. cas are what certificates of
// clients are verified against where they are required.
func (s *Store) Config(auth ClientAuth, cas *x509.CertPool) *tls.Config {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: s.Certificate,
		// Small records at first bring a page's beginning sooner on a slow line, at
		// the price of a write each.
		DynamicRecordSizingDisabled: true,
	}
	switch auth {
	case Request:
		// Without cas: their names would have clients keep back every other one.
		c.ClientAuth = tls.RequestClientCert
	case Require:
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, cas
	}
	return c
}

// ReadCAs reads the certificates that others are verified against.
func ReadCAs(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := whole(b); err != nil {
		return nil, errors.New(path + ": " + err.Error())
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New(path + ": no certificate is in it")
	}
	return pool, nil
}
