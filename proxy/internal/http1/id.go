package http1

import "bytes"

// ID names a field that a proxy must know. Everything else is Other and is
// passed on byte for byte.
type ID uint8

// The known fields.
const (
	Other ID = iota
	Accept
	Authorization
	Connection
	ContentLength
	Expect
	Forwarded
	Host
	KeepAlive
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	Referer
	TE
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	WWWAuthenticate
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedPrefix
	XForwardedProto
	// XForwarded is any other X-Forwarded-* field (-Ssl, -Scheme, -User and what else
	// apps believe), and what says in other words that a request came by TLS.
	XForwarded
	XRealIP
	XRequestID
	// Roost is any Roost-* field, "_" for "-" included.
	Roost
	// Module is any field that begins with MS-ASPNETCORE, likewise: those are the module's.
	Module
	// XOriginal is any X-Original-* field, likewise: what an ASP.NET Core app
	// would take for its own note of what the forwarding fields replaced.
	XOriginal
	// Disguised is a known field written with "_" for "-": apps that fold
	// names as CGI does would take it for the real one.
	Disguised

	NumIDs
)

// fieldID classifies a field name: by length first, so that most names cost
// one comparison or none.
func fieldID(name []byte) ID {
	switch len(name) {
	case 2:
		return is(name, "te", TE)
	case 4:
		return is(name, "host", Host)
	case 6:
		return either(name, "accept", Accept, "expect", Expect)
	case 7:
		if id := is(name, "referer", Referer); id != Other {
			return id
		}
		return either(name, "upgrade", Upgrade, "trailer", Trailer)
	case 9:
		return either(name, "forwarded", Forwarded, "x-real-ip", XRealIP)
	case 10:
		if id := is(name, "user-agent", UserAgent); id != Other {
			return id
		}
		return either(name, "connection", Connection, "keep-alive", KeepAlive)
	case 12:
		return either(name, "x-request-id", XRequestID, "x-url-scheme", XForwarded)
	case 13:
		if id := is(name, "authorization", Authorization); id != Other {
			return id
		}
	case 14:
		return either(name, "content-length", ContentLength, "", Other)
	case 15:
		return either(name, "x-forwarded-for", XForwardedFor, "front-end-https", XForwarded)
	case 16:
		// Written with "_" it is no challenge to anybody.
		if id := is(name, "www-authenticate", WWWAuthenticate); id != Other {
			return id
		}
		if id := either(name, "x-forwarded-host", XForwardedHost, "x-forwarded-port", XForwardedPort); id != Other {
			return id
		}
		return either(name, "proxy-connection", ProxyConnection, "", Other)
	case 17:
		return either(name, "x-forwarded-proto", XForwardedProto, "transfer-encoding", TransferEncoding)
	case 18:
		return either(name, "x-forwarded-prefix", XForwardedPrefix, "proxy-authenticate", ProxyAuthenticate)
	case 19:
		return either(name, "proxy-authorization", ProxyAuthorization, "", Other)
	}
	return reserved(name)
}

func is(name []byte, s string, id ID) ID {
	if EqualFold(name, s) {
		return id
	}
	return Other
}

// either is a or b, whichever the name is; disguised when "_" stands for "-";
// else it may still be reserved.
func either(name []byte, a string, ida ID, b string, idb ID) ID {
	if id := folded(name, a, ida); id != Other {
		return id
	}
	if id := folded(name, b, idb); id != Other {
		return id
	}
	return reserved(name)
}

func folded(name []byte, s string, id ID) ID {
	if len(s) == 0 || lower(name[0]) != s[0] || len(name) != len(s) {
		return Other
	}
	found := id
	for i := range len(s) {
		switch c := lower(name[i]); {
		case c == s[i]:
		case c == '_' && s[i] == '-':
			found = Disguised
		default:
			return Other
		}
	}
	return found
}

func reserved(name []byte) ID {
	switch name[0] {
	case 'r', 'R':
		if hasPrefix(name, "roost-") {
			return Roost
		}
	case 'm', 'M':
		if hasPrefix(name, "ms-aspnetcore") {
			return Module
		}
	case 'x', 'X':
		switch {
		case hasPrefix(name, "x-original-"):
			return XOriginal
		case !hasPrefix(name, "x-forwarded-"):
		case bytes.IndexByte(name, '_') >= 0:
			return Disguised
		default:
			return XForwarded
		}
	}
	return Other
}

// hasPrefix compares with "_" for "-" and whatever the case.
func hasPrefix(name []byte, s string) bool {
	return len(name) >= len(s) && folded(name[:len(s)], s, Roost) != Other
}
