package http1

import "bytes"

// Negotiate and NTLM (RFC 4559) are unlike all other schemes: the client proves
// who it is to a connection, in several requests, and whatever comes on that
// connection later may be taken for the client's.

// connectionScheme reports whether credentials are of such a scheme.
func connectionScheme(credentials []byte) bool {
	scheme := credentials
	if i := bytes.IndexAny(credentials, " \t"); i >= 0 {
		scheme = credentials[:i]
	}
	return EqualFold(scheme, "negotiate") || EqualFold(scheme, "ntlm")
}

// connectionChallenge reports whether there is a challenge of such a scheme
// among those of a field. What only looks like one within a quoted string is
// taken for one: a connection too many is kept apart.
func connectionChallenge(challenges []byte) bool {
	for e := range elements(challenges) {
		if connectionScheme(e) {
			return true
		}
	}
	return false
}

// StartsConnectionAuth reports whether credentials of such a scheme are the
// first message of a handshake, which any connection can take: an initial token
// of GSS-API (RFC 2743 3.1: its first byte is 0x60) or NTLM's message 1, both in
// base64. All others continue what one connection knows of.
func StartsConnectionAuth(credentials []byte) bool {
	i := bytes.IndexAny(credentials, " \t")
	if i < 0 {
		return true
	}
	token := trim(credentials[i:])
	return len(token) == 0 || token[0] == 'Y' || bytes.HasPrefix(token, []byte("TlRMTVNTUAAB"))
}
