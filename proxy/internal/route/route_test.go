package route

import (
	"strings"
	"testing"
)

func table() *Table[string] {
	return New([]Entry[string]{
		{Rule{Host: "", Path: "/"}, "any"},
		{Rule{Host: "", Path: "/only-any"}, "any-path"},
		{Rule{Host: "a.example.com", Path: "/"}, "exact"},
		{Rule{Host: "a.example.com", Path: "/api"}, "exact-api"},
		{Rule{Host: "a.example.com", Path: "/api/v2"}, "exact-v2"},
		{Rule{Host: "*.example.com", Path: "/"}, "wild"},
		{Rule{Host: "*.b.example.com", Path: "/"}, "wild-longer"},
		{Rule{Host: "half.example.com", Path: "/half"}, "half"},
		{Rule{Host: "*.net", Path: "/net"}, "net"},
	})
}

func TestTable_Lookup(t *testing.T) {
	tests := []struct{ host, path, want string }{
		{"a.example.com", "/", "exact"},
		{"A.Example.COM", "/x", "exact"},
		{"a.example.com.", "/x", "exact"},
		{"a.example.com", "/api", "exact-api"},
		{"a.example.com", "/api/", "exact-api"},
		{"a.example.com", "/api/v2/x", "exact-v2"},
		{"a.example.com", "/apiary", "exact"},
		{"a.example.com", "/API", "exact"},
		{"a.example.com", "//api", "exact"},
		{"x.example.com", "/", "wild"},
		{"x.y.example.com", "/", "wild"},
		{"x.b.example.com", "/", "wild-longer"},
		{"example.com", "/", "any"},
		{".example.com", "/", "any"},
		{"half.example.com", "/half/x", "half"},
		{"half.example.com", "/other", "wild"},
		{"x.net", "/net", "net"},
		{"x.net", "/", "any"},
		{"", "/only-any", "any-path"},
		{"other", "*", "any"},
		{strings.Repeat("a", 300) + ".example.com", "/", "any"},
	}
	for _, tt := range tests {
		e, ok := table().Lookup([]byte(tt.host), []byte(tt.path))
		if !ok || e.Target != tt.want {
			t.Errorf("Lookup(%q, %q) = %v, want %s", tt.host, tt.path, e, tt.want)
		}
	}
}

func TestTable_AnyCase(t *testing.T) {
	tab := New([]Entry[string]{
		{Rule{Path: "/Shop", AnyCase: true}, "shop"}, {Rule{Path: "/exact"}, "exact"}, {Rule{Path: "/a[1]", AnyCase: true}, "signs"},
	})
	for path, want := range map[string]string{
		"/Shop": "shop", "/SHOP/x": "shop", "/shop/": "shop", "/Exact": "", "/shopping": "", "/sho": "", "/A[1]": "signs", "/a{1}": "",
	} {
		e, ok := tab.Lookup(nil, []byte(path))
		if ok != (want != "") || ok && e.Target != want {
			t.Errorf("%s: %v, want %q", path, e, want)
		}
	}
}

func TestTable_NoRoute(t *testing.T) {
	tab := New([]Entry[string]{{Rule{Host: "a", Path: "/x"}, "a"}})
	for _, r := range [][2]string{{"a", "/"}, {"b", "/x"}, {"", "/x"}, {"a", "*"}} {
		if e, ok := tab.Lookup([]byte(r[0]), []byte(r[1])); ok {
			t.Errorf("Lookup(%v) = %v", r, e)
		}
	}
	var none *Table[string]
	if _, ok := none.Lookup(nil, []byte("/")); ok {
		t.Error("nil table has a route")
	}
}

func TestTable_LookupAllocatesNothing(t *testing.T) {
	tab := table()
	host, path := []byte("X.b.Example.com"), []byte("/api/v2/x")
	if n := testing.AllocsPerRun(100, func() { tab.Lookup(host, path) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTable_Lookup(f *testing.F) {
	tab := table()
	f.Add("x.example.com", "/")
	f.Add("..", "*")
	f.Fuzz(func(t *testing.T, host, path string) {
		if _, ok := tab.Lookup([]byte(host), []byte(path)); !ok {
			t.Error("the route for any host and path was not found")
		}
	})
}

func BenchmarkTable_Lookup(b *testing.B) {
	tab := table()
	host, path := []byte("a.example.com"), []byte("/api/v2/x")
	for b.Loop() {
		tab.Lookup(host, path)
	}
}
