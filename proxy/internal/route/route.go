// Package route finds what a request's host and path lead to, in an immutable
// table that is replaced as a whole.
package route

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// Rule is the condition of one route.
type Rule struct {
	// Host is in lower case and without a port: "" for any host, an exact
	// name, or "*.name" for every name below it.
	Host string
	// Path is "/" or a prefix such as "/a/b" without a slash at its end. It
	// matches at segment boundaries.
	Path string
	// StripPath says that the app does not see Path.
	StripPath bool
	// AnyCase says that Path matches in upper and lower case, as the path base of
	// an ASP.NET Core app does.
	AnyCase bool
	// HTTPS is what becomes of requests in clear text.
	HTTPS HTTPS
}

// HTTPS is what becomes of a route's requests that do not come over TLS.
type HTTPS uint8

// They are Served as others are, sent to the same URL over TLS, or find nothing:
// the route is there for TLS Only.
const (
	Served HTTPS = iota
	Redirect
	Only
)

// Entry is a rule and where it leads.
type Entry[T any] struct {
	Rule   Rule
	Target T
}

// Table answers lookups: host first (exact, then the longest wildcard, then
// any), then the longest path. The zero value has no routes.
type Table[T any] struct {
	exact map[string][]*Entry[T]
	wild  map[string][]*Entry[T] // by what follows the "*", with its dot
	any   []*Entry[T]
}

// New builds a table. Of two entries with the same host and path the first
// one counts.
func New[T any](entries []Entry[T]) *Table[T] {
	t := &Table[T]{exact: map[string][]*Entry[T]{}, wild: map[string][]*Entry[T]{}}
	for i := range entries {
		e := new(entries[i])
		switch host := e.Rule.Host; {
		case host == "":
			t.any = append(t.any, e)
		case strings.HasPrefix(host, "*."):
			t.wild[host[1:]] = append(t.wild[host[1:]], e)
		default:
			t.exact[host] = append(t.exact[host], e)
		}
	}
	for _, list := range t.exact {
		longestFirst(list)
	}
	for _, list := range t.wild {
		longestFirst(list)
	}
	longestFirst(t.any)
	return t
}

func longestFirst[T any](list []*Entry[T]) {
	slices.SortStableFunc(list, func(a, b *Entry[T]) int {
		return cmp.Compare(len(b.Rule.Path), len(a.Rule.Path))
	})
}

// maxHost is the longest host name that can match, in bytes (RFC 1035).
const maxHost = 255

// Lookup finds the entry for a host without port, in any case and maybe with
// the root's dot, and a path with its dot segments resolved. A host whose
// paths do not match leaves the request to the next kind of host. It does not
// allocate.
func (t *Table[T]) Lookup(host, path []byte) (*Entry[T], bool) {
	if t == nil {
		return nil, false
	}
	if len(t.exact)+len(t.wild) > 0 && len(host) > 0 && len(host) <= maxHost {
		var lowered [maxHost]byte
		name := lower(lowered[:0], host)
		if e := longest(t.exact[string(name)], path); e != nil {
			return e, true
		}
		if e := t.wildcard(name, path); e != nil {
			return e, true
		}
	}
	e := longest(t.any, path)
	return e, e != nil
}

func (t *Table[T]) wildcard(name, path []byte) *Entry[T] {
	if len(t.wild) == 0 {
		return nil
	}
	for {
		dot := bytes.IndexByte(name[1:], '.')
		if dot < 0 {
			return nil
		}
		name = name[1+dot:]
		if e := longest(t.wild[string(name)], path); e != nil {
			return e
		}
	}
}

func longest[T any](list []*Entry[T], path []byte) *Entry[T] {
	for _, e := range list {
		if e.Rule.matches(path) {
			return e
		}
	}
	return nil
}

// matches reports whether the rule's path is path or ends at one of its slashes.
func (r *Rule) matches(path []byte) bool {
	prefix := r.Path
	if prefix == "/" || prefix == "" {
		return true
	}
	if len(path) < len(prefix) || len(path) > len(prefix) && path[len(prefix)] != '/' {
		return false
	}
	head := path[:len(prefix)]
	return string(head) == prefix || r.AnyCase && equalFold(head, prefix)
}

// equalFold compares without regard to the case of ASCII letters; s is as long as b.
func equalFold(b []byte, s string) bool {
	for i, c := range b {
		d := s[i]
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

func lower(dst, host []byte) []byte {
	if len(host) > 1 && host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	for _, c := range host {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}
