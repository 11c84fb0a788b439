package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	module   = "github.com/roostd/roost/"
	grpc     = "google.golang.org/grpc"
	protobuf = "google.golang.org/protobuf"
	genproto = "google.golang.org/genproto"
)

// pkg is a package of this module, its paths without the module's own prefix.
type pkg struct {
	Path    string   // "daemon/internal/app"
	Imports []string // of its files that are no tests
	Deps    []string // Imports, theirs, and so on
}

// rule limits what some packages may import. Patterns are import paths, and
// "x/..." is x and all below it.
type rule struct {
	of     []string // the packages that the rule is about
	except []string // those of them that it is not about
	only   []string // what they may import beside the standard library; nil: anything
	never  []string // what they may not import
	deep   bool     // never counts for what their imports import, too
	reason string
}

var importRules = []rule{
	{
		of:     []string{"daemon/internal/app", "daemon/internal/watch"},
		only:   []string{"daemon/internal/app"},
		reason: "app holds the values and rules that everything else speaks in, so it depends on the standard library alone, and watch hands them round",
	}, {
		of:     []string{"daemon/internal/supervisor"},
		only:   []string{"daemon/internal/app", "daemon/internal/failpoint", "daemon/internal/watch", "internal/rungroup", "github.com/hashicorp/go-hclog"},
		reason: "supervisor is policy: it declares the ports it needs, and who implements them imports it never the other way round",
	}, {
		of: []string{
			"daemon/internal/app/...", "daemon/internal/supervisor/...",
			"daemon/internal/probe/...", "daemon/internal/logs/...", "daemon/internal/endpoint/...", "daemon/internal/store/...",
			"daemon/internal/folder/...",
		},
		never:  []string{"gen/...", grpc + "/...", protobuf + "/...", genproto + "/..."},
		deep:   true,
		reason: "the policy and its parts run without gRPC: api and keeper translate at the edge",
	}, {
		of: []string{
			"daemon/internal/keeper/...", "daemon/internal/probe/...", "daemon/internal/logs/...",
			"daemon/internal/endpoint/...", "daemon/internal/store/...", "daemon/internal/folder/...",
		},
		never:  []string{"daemon/internal/supervisor/...", "daemon/internal/api/...", "daemon/internal/auth/..."},
		deep:   true,
		reason: "they implement what supervisor declares, in terms of app: run.go puts the two together",
	}, {
		of:     []string{"..."},
		except: []string{"daemon", "daemon/internal/api/...", "daemon/internal/supervisor/...", "internal/e2e/..."},
		never:  []string{"daemon/internal/supervisor/..."},
		reason: "only api, which translates, and run.go, which wires, know the supervisor",
	}, {
		of:     []string{"..."},
		except: []string{"daemon", "daemon/internal/api/...", "internal/e2e/..."},
		never:  []string{"daemon/internal/api/..."},
		reason: "api is the outermost layer: only run.go serves it",
	}, {
		of: []string{"..."},
		except: []string{
			"gen/...", "daemon/internal/api/...", "daemon/internal/keeper/...", "proxy/internal/discovery/...",
			"ctl/internal/...", "internal/rpc/...", "internal/e2e/...",
		},
		never:  []string{"gen/..."},
		reason: "messages of the wire stay at the edge, so that the inside can change without them",
	}, {
		of:     []string{"..."},
		except: []string{"gen/...", "daemon/internal/keeper/...", "internal/e2e/..."},
		never:  []string{"gen/roost/keeper/..."},
		reason: "the keeper's protocol is private to its two ends",
	}, {
		of: []string{"..."},
		except: []string{
			"gen/...", "daemon", "proxy", "daemon/internal/api/...", "daemon/internal/auth/...", "daemon/internal/keeper/...",
			"proxy/internal/discovery/...", "ctl/internal/...", "internal/rpc/...", "internal/e2e/...",
		},
		never:  []string{grpc + "/..."},
		reason: "gRPC is known where messages are translated, where peers are identified and where a program is wired, nowhere else",
	}, {
		of:     []string{"proxy/internal/route", "proxy/internal/backend", "proxy/internal/http1"},
		only:   []string{"golang.org/x/sys/..."},
		reason: "every request passes through it: nothing on the way that we did not measure",
	}, {
		of:     []string{"proxy/internal/activator"},
		only:   []string{"proxy/internal/backend", "github.com/hashicorp/go-hclog"},
		reason: "activator waits for a backend and knows neither routes nor the daemon: discovery brings it what to call",
	}, {
		of:     []string{"proxy/internal/certs"},
		only:   []string{"github.com/fsnotify/fsnotify", "github.com/hashicorp/go-hclog"},
		reason: "certs knows a folder and what TLS asks for, not who is served",
	}, {
		of: []string{"proxy/internal/forward"},
		only: []string{
			"proxy/internal/route", "proxy/internal/backend", "proxy/internal/activator", "proxy/internal/http1",
			"golang.org/x/sys/...", "github.com/hashicorp/go-hclog",
		},
		reason: "forward is one exchange between a client and a backend: it needs neither discovery nor the access log's format",
	}, {
		of:     []string{"daemon/exec"},
		only:   []string{},
		reason: "roost-exec runs before every app, so its own start is felt: os and syscall only, see also TestExec_ImportsOSAndSyscallOnly",
	}, {
		of:     []string{"internal/..."},
		never:  []string{"daemon/...", "proxy/...", "ctl/...", "examples/..."},
		reason: "internal is what the programs share, it cannot know them: e2e meets them as binaries",
	}, {
		of:     []string{"examples/..."},
		never:  []string{"daemon/...", "proxy/...", "ctl/...", "gen/...", "internal/..."},
		reason: "an example is what a user would write, and users have none of our packages",
	},
}

func TestImports(t *testing.T) {
	pkgs := listPackages(t)
	for _, r := range importRules {
		for _, fault := range r.check(pkgs) {
			t.Error(fault)
		}
	}
}

// check returns a sentence for every import that breaks the rule.
func (r rule) check(pkgs []pkg) []string {
	var faults []string
	for _, p := range pkgs {
		if !matchAny(r.of, p.Path) || matchAny(r.except, p.Path) {
			continue
		}
		for _, imp := range p.Imports {
			if r.only != nil && !isStandard(imp) && !matchAny(r.only, imp) || matchAny(r.never, imp) {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", p.Path, imp, r.reason))
			}
		}
		if !r.deep {
			continue
		}
		for _, dep := range p.Deps {
			if matchAny(r.never, dep) && !slices.Contains(p.Imports, dep) {
				faults = append(faults, fmt.Sprintf("%s depends on %s by way of another package: %s", p.Path, dep, r.reason))
			}
		}
	}
	return faults
}

func TestExec_ImportsOSAndSyscallOnly(t *testing.T) {
	all := listPackages(t)
	i := slices.IndexFunc(all, func(p pkg) bool { return p.Path == "daemon/exec" })
	if i < 0 {
		t.Fatal("there is no daemon/exec: a test of nothing")
	}
	for _, imp := range all[i].Imports {
		if imp != "os" && imp != "syscall" {
			t.Errorf("daemon/exec imports %s: every start of an app waits for roost-exec, and each package more is initialised in it", imp)
		}
	}
}

func TestRule_CheckFindsWhatItForbids(t *testing.T) {
	pkgs := []pkg{
		{Path: "a", Imports: []string{"fmt", "b"}, Deps: []string{"b", "c/d", "fmt"}},
		{Path: "a/x", Imports: []string{"example.org/y"}},
		{Path: "b", Imports: []string{"c/d", "daemon/b"}},
	}
	for name, tt := range map[string]struct {
		r    rule
		want int
	}{
		"never":             {rule{of: []string{"a"}, never: []string{"b"}}, 1},
		"never, below":      {rule{of: []string{"..."}, never: []string{"c/..."}}, 1},
		"never, deep":       {rule{of: []string{"a"}, never: []string{"c/..."}, deep: true}, 1},
		"never, not deep":   {rule{of: []string{"a"}, never: []string{"c/..."}}, 0},
		"only standard":     {rule{of: []string{"a/..."}, only: []string{}}, 1},
		"only, ours":        {rule{of: []string{"b"}, only: []string{}}, 1},
		"only, allowed":     {rule{of: []string{"a/..."}, only: []string{"b", "example.org/..."}}, 0},
		"only, unlimited":   {rule{of: []string{"a/..."}}, 0},
		"except":            {rule{of: []string{"a/..."}, except: []string{"a/x"}, only: []string{}}, 0},
		"of nothing at all": {rule{of: []string{"z/..."}, only: []string{}}, 0},
	} {
		if got := tt.r.check(pkgs); len(got) != tt.want {
			t.Errorf("%s: %d faults %q, want %d", name, len(got), got, tt.want)
		}
	}
}

// matchAny reports whether p matches one of the patterns: a path, "x/..." for x
// and all below it, "..." for all, or with * as in path.Match.
func matchAny(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if pattern == "..." {
			return true
		}
		if dir, below := strings.CutSuffix(pattern, "/..."); below {
			return p == dir || strings.HasPrefix(p, dir+"/")
		}
		ok, err := path.Match(pattern, p)
		return ok && err == nil
	})
}

// isStandard reports whether an import path without the module's prefix is of the
// standard library, which alone has neither a dot in its first element nor a folder of ours.
func isStandard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".") && !slices.Contains([]string{"ctl", "daemon", "examples", "gen", "internal", "proxy"}, first)
}
