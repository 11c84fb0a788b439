package webconfig

import (
	"fmt"
	"slices"
	"strings"

	"github.com/roostd/roost/ctl/internal/manifest"
)

// The losses that have no element's name.
const (
	lossRewrite    = "rewrite"
	lossEncrypted  = "encrypted"
	lossUnresolved = "unresolved"
	lossTokens     = "tokens"
	lossLocation   = "location"
	lossTransform  = "xdt"
	lossSource     = "configSource"
)

// losses are the names of what an import may lose with the user's word only: the
// element, or what kind of thing it is.
var losses = []string{
	"access", "anonymousAuthentication", "authorization", "basicAuthentication", "clientCertificateMappingAuthentication",
	lossSource, "digestAuthentication", "dynamicIpSecurity", lossEncrypted, "httpRedirect",
	"iisClientCertificateMappingAuthentication", "ipSecurity", lossLocation, "requestFiltering", lossRewrite, lossTokens,
	lossUnresolved, "windowsAuthentication", lossTransform,
}

// lossAliases are other words for a loss that a user may think of first.
var lossAliases = map[string]string{"sslFlags": "access", "security.access": "access", "rules": lossRewrite}

// Losses are the names that CheckLosses knows, without other words for them.
func Losses() []string { return slices.Clone(losses) }

// CheckLosses refuses names that are no loss, with the nearest that is one.
func CheckLosses(names []string) error {
	for _, n := range names {
		if _, ok := lossAliases[n]; ok || slices.Contains(losses, n) {
			continue
		}
		if near := manifest.Nearest(n, losses); near != "" {
			return fmt.Errorf("%q is not a loss: did you mean %q?", n, near)
		}
		return fmt.Errorf("%q is not a loss: known are %s", n, strings.Join(losses, ", "))
	}
	return nil
}

func acceptedLosses(names []string) map[string]bool {
	accepted := map[string]bool{}
	for _, n := range names {
		if canonical, ok := lossAliases[n]; ok {
			n = canonical
		}
		accepted[n] = true
	}
	return accepted
}

// loss reports what would weaken or break the site when it is dropped: an error,
// or a warning where the user gave their word. It reports whether they did.
func (r *reader) loss(name string, at place, field, format string, args ...any) bool {
	message := fmt.Sprintf(format, args...)
	if r.accepted[name] {
		r.report(manifest.Warning, at, field, message+" (accepted: "+name+")")
		return true
	}
	r.report(manifest.Error, at, field, message+"; to go without it: --accept-loss="+name)
	return false
}
