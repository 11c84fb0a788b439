package http1

import (
	"encoding/base64"
	"testing"
)

func TestRequest_ConnectionAuth(t *testing.T) {
	for fields, want := range map[string]bool{
		"Authorization: Negotiate YIIabc\r\n":                    true,
		"authorization: nEGOTIATE\r\n":                           true,
		"AUTHORIZATION:NTLM\tTlRMTVNTUAAB\r\n":                   true,
		"Authorization: Basic eA==\r\nAuthorization: NTLM x\r\n": true,
		"Authorization: Basic TlRMTQ==\r\n":                      false,
		"Authorization: Bearer negotiate\r\n":                    false,
		"Authorization: Negotiated x\r\n":                        false,
		"Authorization:\r\n":                                     false,
		"Proxy-Authorization: NTLM x\r\n":                        false,
		"WWW-Authenticate: NTLM\r\n":                             false,
		"":                                                       false,
	} {
		var r Request
		r.Reset()
		if n, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n")); n == 0 || err != nil {
			t.Fatalf("%q: %d, %v", fields, n, err)
		}
		if r.ConnectionAuth != want {
			t.Errorf("%q: %v", fields, r.ConnectionAuth)
		}
		if r.Reset(); r.ConnectionAuth {
			t.Errorf("%q: still set for the next request", fields)
		}
	}
}

func TestResponse_ConnectionAuth(t *testing.T) {
	for fields, want := range map[string]bool{
		"WWW-Authenticate: Negotiate\r\n":                                    true,
		"WWW-Authenticate: NTLM TlRMTVNTUAACAAAA\r\n":                        true,
		"www-authenticate: Basic realm=\"a b\", ntlm\r\n":                    true,
		"WWW-Authenticate: Basic realm=x\r\nWWW-Authenticate: Negotiate\r\n": true,
		"WWW-Authenticate: Basic realm=\"NTLM\"\r\n":                         false,
		"WWW-Authenticate: Digest realm=x, nonce=y\r\n":                      false,
		"WWW-Authenticate:\r\n":                                              false,
		"Authorization: NTLM x\r\n":                                          false,
		"Proxy-Authenticate: NTLM\r\n":                                       false,
	} {
		var r Response
		r.Reset()
		if n, err := r.Parse([]byte("HTTP/1.1 401 Unauthorized\r\n" + fields + "\r\n")); n == 0 || err != nil {
			t.Fatalf("%q: %d, %v", fields, n, err)
		}
		if r.ConnectionAuth != want {
			t.Errorf("%q: %v", fields, r.ConnectionAuth)
		}
		if r.Reset(); r.ConnectionAuth {
			t.Errorf("%q: still set for the next response", fields)
		}
	}
}

func TestStartsConnectionAuth(t *testing.T) {
	token := func(scheme, bytes string) string {
		return scheme + " " + base64.StdEncoding.EncodeToString([]byte(bytes))
	}
	for credentials, want := range map[string]bool{
		token("NTLM", "NTLMSSP\x00\x01\x00\x00\x00\x07\x82"):      true,
		token("Negotiate", "NTLMSSP\x00\x01\x00\x00\x00\x07\x82"): true,
		token("NTLM", "NTLMSSP\x00\x03\x00\x00\x00\x18\x00"):      false,
		token("Negotiate", "NTLMSSP\x00\x03\x00\x00\x00"):         false,
		token("Negotiate", "\x60\x82\x02\x73\x06\x06"):            true,
		token("Negotiate", "\xa1\x82\x02\x73\x30"):                false,
		"Negotiate":  true,
		"NTLM ":      true,
		"NTLM =====": false,
	} {
		if got := StartsConnectionAuth([]byte(credentials)); got != want {
			t.Errorf("%s: %v", credentials, got)
		}
	}
}
