package webconfig

import (
	"regexp"
	"strings"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// rewrite reads the rules of URL Rewrite: one that leads everybody to https is a
// route's own here, each other one a loss.
func (r *reader) rewrite(s *element) {
	for _, group := range s.children {
		switch group.name {
		case "rules", "globalRules":
			for _, e := range group.children {
				if e.name == "rule" {
					r.rule(e)
				}
			}
		case "outboundRules":
			for _, e := range group.children {
				if e.name == "rule" && isTrue(e, "enabled", true) {
					r.loss(lossRewrite, e.place, "", "outbound rule %q changes responses, and nothing here does: let the app write what is meant", e.value("name"))
				}
			}
		}
	}
}

func (r *reader) rule(e *element) {
	if !isTrue(e, "enabled", true) {
		return
	}
	hosts, ok := httpsRedirect(e, r.src.Host)
	if !ok {
		r.loss(lossRewrite, e.place, "", "rewrite rule %q does not run here: keep the rules in a file of their own and let the app run them: "+
			"app.UseRewriter(new RewriteOptions().AddIISUrlRewrite(env.ContentRootFileProvider, \"rewrite.xml\"))", e.value("name"))
		return
	}
	r.https = roostv1.HttpsPolicy_HTTPS_POLICY_REDIRECT
	r.mark("routes[0].https", e.place)
	only := ""
	if len(hosts) > 0 {
		only = ", whatever the host (the rule has conditions: " + strings.Join(hosts, ", ") + ")"
	}
	r.warn(e.place, "rewrite rule %q is the route's https: redirect now: 308 to the same URL%s; roost-proxy needs --listen-tls", e.value("name"), only)
}

var (
	httpsTarget = regexp.MustCompile(`(?i)^https://\{(HTTP_HOST|SERVER_NAME)\}(:443)?(/?\{(REQUEST_URI|UNENCODED_URL|PATH_INFO|URL|R:[01])\}|/?)$`)
	everyPath   = regexp.MustCompile(`^\^?\(?\.[*+]?\)?\$?$|^\*$|^$`)
	offPattern  = regexp.MustCompile(`(?i)^\^?\(?(off|0|80|http|false)\)?\$?$`)
	onPattern   = regexp.MustCompile(`(?i)^\^?\(?(on|1|443|https|true)\)?\$?$`)
	// What tells whether a request came by TLS.
	tlsVariable = regexp.MustCompile(`(?i)^\{(HTTPS|SERVER_PORT_SECURE|SERVER_PORT|HTTP_X_FORWARDED_PROTO|HTTP:X-Forwarded-Proto|HTTP_X_ARR_SSL)\}$`)
	hostInput   = regexp.MustCompile(`(?i)^\{(HTTP_HOST|SERVER_NAME)\}$`)
	pathInput   = regexp.MustCompile(`(?i)^\{(REQUEST_URI|URL|PATH_INFO|UNENCODED_URL|REQUEST_FILENAME)\}$`)
)

// httpsRedirect reports whether a rule leads requests in clear text to the same
// URL over TLS, all but those of certificate validation, which our own redirect
// leaves alone too. A host that is written out must be the app's own. It returns the
// conditions about hosts.
func httpsRedirect(e *element, own string) (hosts []string, ok bool) {
	action, match := e.child("action"), e.child("match")
	if action == nil || !strings.EqualFold(action.value("type"), "Redirect") || !leadsToHTTPS(action.value("url"), own) {
		return nil, false
	}
	if match != nil && (!everyPath.MatchString(match.value("url")) || isTrue(match, "negate", false)) {
		return nil, false
	}
	conditions := e.child("conditions")
	if conditions == nil {
		return nil, false
	}
	any := strings.EqualFold(conditions.value("logicalGrouping"), "MatchAny")
	clear := false
	for _, c := range conditions.children {
		input, pattern, negate := strings.TrimSpace(c.value("input")), c.value("pattern"), isTrue(c, "negate", false)
		switch {
		case c.name != "add":
			return nil, false
		case tlsVariable.MatchString(input) && (offPattern.MatchString(pattern) && !negate || onPattern.MatchString(pattern) && negate):
			clear = true
		case hostInput.MatchString(input):
			hosts = append(hosts, condition(input, pattern, negate))
		case pathInput.MatchString(input) && negate && strings.Contains(pattern, "well-known"):
		default:
			return nil, false
		}
	}
	return hosts, clear && (!any || len(conditions.children) == 1)
}

// leadsToHTTPS reports whether a target is the same URL over TLS.
func leadsToHTTPS(target, own string) bool {
	target = strings.TrimSpace(target)
	if prefix := "https://" + own; own != "" && len(target) >= len(prefix) && strings.EqualFold(target[:len(prefix)], prefix) {
		target = "https://{HTTP_HOST}" + target[len(prefix):]
	}
	return httpsTarget.MatchString(target)
}

func condition(input, pattern string, negate bool) string {
	if negate {
		return input + " not " + pattern
	}
	return input + " " + pattern
}
