package webconfig

import (
	"slices"
	"strconv"
	"strings"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// authentications are the ways IIS authenticates before the app, each with what
// does it here.
var authentications = map[string]string{
	"windowsAuthentication":                     "the app can do it itself, with AddNegotiate and a keytab, through the proxy (docs/from-iis.md)",
	"basicAuthentication":                       "let the app ask for it (an authentication handler for Basic), or a proxy in front",
	"digestAuthentication":                      "let the app authenticate its users",
	"clientCertificateMappingAuthentication":    "the app gets the client's certificate (roost-proxy --client-auth) and can map it: AddCertificate",
	"iisClientCertificateMappingAuthentication": "the app gets the client's certificate (roost-proxy --client-auth) and can map it: AddCertificate",
}

// security reads <security>, of the whole app or of a path. It reports the losses
// under their own names, and returns what else is set.
func (r *reader) security(s *element, path string, whole bool) (rest []string) {
	r.securityValues(s)
	for _, e := range s.children {
		switch e.name {
		case "authentication":
			r.authentication(e, path)
		case "ipSecurity":
			r.ipSecurity(e, path)
		case "dynamicIpSecurity":
			if denies(e) {
				r.loss(e.name, e.place, "", "<dynamicIpSecurity>%s limits requests by address, and nothing here does: use a firewall or a proxy in front, or the app's rate limiter", forPath(path))
			}
		case "authorization":
			r.authorization(e, path)
		case "access":
			r.access(e, path, whole)
		case "requestFiltering":
			if whole {
				r.requestFiltering(e)
			} else {
				rest = append(rest, e.name)
			}
		default:
			if whole {
				r.meaningless(e)
			} else {
				rest = append(rest, e.name)
			}
		}
	}
	return rest
}

// switches are the attributes of <security> that are true or false and open or
// close the site.
var switches = []string{"enabled", "allowed", "allowUnlisted"}

// securityValues refuses what cannot be told to be open or closed: a token that
// nobody replaced, and what is neither true nor false.
func (r *reader) securityValues(s *element) {
	s.walk(func(e *element) bool {
		if e.name == "requestLimits" { // read by itself
			return false
		}
		for i := range e.attrs {
			a := &e.attrs[i]
			if slices.Contains(switches, a.name) {
				r.boolean(a, "")
			} else {
				r.token(a, "")
			}
		}
		return true
	})
}

// isTrue reads a boolean as IIS does, in any case; what is none of it is a fault
// elsewhere (securityValues), and here as if it were on.
func isTrue(e *element, name string, absent bool) bool {
	a := e.attr(name)
	if a == nil {
		return absent
	}
	return !strings.EqualFold(strings.TrimSpace(a.value), "false")
}

func (r *reader) authentication(s *element, path string) {
	for _, e := range s.children {
		at := e.place
		if a := e.attr("enabled"); a != nil {
			at = a.place
		}
		instead, known := authentications[e.name]
		switch {
		case e.name == "anonymousAuthentication" && !isTrue(e, "enabled", true):
			r.loss(e.name, at, "", "<anonymousAuthentication>%s is off, so that IIS lets nobody in whom it did not authenticate, and nothing here does that for the app: "+
				"use its own (RequireAuthorization)", forPath(path))
		case known && isTrue(e, "enabled", false):
			r.loss(e.name, at, "", "<%s>%s is on, and nothing here does it for the app: %s", e.name, forPath(path), instead)
		}
	}
}

func (r *reader) ipSecurity(s *element, path string) {
	deny := s.attr("allowUnlisted") != nil && !isTrue(s, "allowUnlisted", true)
	deny = deny || slices.ContainsFunc(s.children, func(e *element) bool { return e.name == "add" && !isTrue(e, "allowed", false) })
	if deny {
		r.loss(s.name, s.place, "", "<ipSecurity>%s lets only some addresses in, and nothing here does: use a firewall, or a check in the app", forPath(path))
	}
}

// denies reports whether one of the rules below e is on.
func denies(e *element) bool {
	on := false
	e.walk(func(c *element) bool {
		on = on || c != e && isTrue(c, "enabled", false)
		return !on
	})
	return on
}

// authorization reports rules that let in less than everybody.
func (r *reader) authorization(s *element, path string) {
	everybody := func(e *element) bool {
		return e.name == "add" && strings.EqualFold(e.value("accessType"), "Allow") && e.value("users") == "*" && e.value("verbs") == ""
	}
	open := slices.ContainsFunc(s.children, everybody)
	cleared := false
	for _, e := range s.children {
		switch {
		case everybody(e):
		case e.name == "clear", e.name == "remove" && e.value("users") == "*":
			cleared = true
		case e.name == "add" && strings.EqualFold(e.value("accessType"), "Allow") && open: // more than everybody is nobody more
		case e.name == "remove":
		default:
			cleared, open = true, false
		}
	}
	if cleared && !open {
		r.loss(s.name, s.place, "", "<authorization>%s does not let everybody in, and nothing here does that for the app: use its own authorization (RequireAuthorization, [Authorize])", forPath(path))
	}
}

var sslFlags = []string{"None", "Ssl", "SslNegotiateCert", "SslRequireCert", "SslMapCert", "Ssl128"}

// access reads which connections are served.
func (r *reader) access(s *element, path string, whole bool) {
	a := s.attr("sslFlags")
	if a == nil {
		return
	}
	flags := strings.FieldsFunc(a.value, func(c rune) bool { return c == ',' || c == ' ' || c == '|' })
	for _, f := range flags {
		if !slices.ContainsFunc(sslFlags, func(known string) bool { return strings.EqualFold(f, known) }) && unreplaced(a.value) == "" {
			r.error(a.place, "", "sslFlags %q has %q, which is none of %s: write the names", a.value, f, strings.Join(sslFlags, ", "))
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, name) })
	}
	switch {
	case has("SslRequireCert"):
		r.loss(s.name, a.place, "", "sslFlags%s require a client certificate: run roost-proxy with --client-auth require and --client-ca, which then hold for all its sites", forPath(path))
	case has("SslNegotiateCert") && whole:
		r.warn(a.place, "sslFlags ask for a client certificate: roost-proxy asks too (--client-auth request, its default), and hands it to the app")
	}
	switch tls := has("Ssl") || has("Ssl128"); {
	case tls && whole:
		r.warn(a.place, "sslFlags want TLS: it is the route's https now, only or redirect; roost-proxy needs --listen-tls")
		if r.https == roostv1.HttpsPolicy_HTTPS_POLICY_UNSPECIFIED { // a redirect serves nothing in clear text either
			r.https = roostv1.HttpsPolicy_HTTPS_POLICY_ONLY
			r.mark("routes[0].https", a.place)
		}
	case tls:
		r.loss(s.name, a.place, "", "sslFlags%s want TLS for that path only: give the whole app https: only", forPath(path))
	}
}

// requestFiltering takes over the size of a body, and reports rules that refuse.
func (r *reader) requestFiltering(s *element) {
	var refuses, other []string
	for _, e := range s.children {
		switch {
		case e.name == "requestLimits":
			r.requestLimits(e)
		case filters(e):
			refuses = append(refuses, e.name)
		default:
			other = append(other, e.name)
		}
	}
	if len(refuses) > 0 {
		r.loss(s.name, s.place, "", "<requestFiltering> refuses requests by %s, and nothing here does: refuse them in the app, and keep what must not be served out of wwwroot",
			strings.Join(refuses, ", "))
	}
	if len(other) > 0 {
		r.warn(s.place, "%s of <requestFiltering> have no meaning here: every request goes to the app", strings.Join(other, ", "))
	}
}

// filters reports whether a part of request filtering refuses something.
func filters(e *element) bool {
	if e.attr("allowUnlisted") != nil && !isTrue(e, "allowUnlisted", true) {
		return true
	}
	return slices.ContainsFunc(e.children, func(c *element) bool {
		switch e.name {
		case "verbs", "fileExtensions":
			return c.name == "add" && !isTrue(c, "allowed", true)
		case "hiddenSegments", "denyUrlSequences", "denyQueryStringSequences":
			return c.name == "add"
		case "filteringRules":
			return c.name == "filteringRule"
		}
		return false
	})
}

func (r *reader) requestLimits(e *element) {
	var rest []string
	for _, a := range e.attrs {
		if a.name != "maxAllowedContentLength" {
			rest = append(rest, a.name)
			continue
		}
		if r.token(&a, "requests.max_body") {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(a.value), 10, 32)
		if err != nil {
			r.error(a.place, "requests.max_body", "maxAllowedContentLength %q is not a number of bytes, 0 to 4294967295", a.value)
			continue
		}
		if n == 0 {
			r.warn(a.place, "maxAllowedContentLength 0 lets no body through in IIS; here 0 would be any size, so it is 1 byte")
			n = 1
		}
		r.spec.Requests.MaxBody = int64(n)
		r.mark("requests.max_body", a.place)
	}
	if e.child("headerLimits") != nil {
		rest = append(rest, "headerLimits")
	}
	if len(rest) > 0 {
		r.warn(e.place, "%s of <requestLimits> have no setting here: the proxy's own limits of a request's head hold, then Kestrel's", strings.Join(rest, ", "))
	}
}
