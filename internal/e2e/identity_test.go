package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// person is a client with a connection of its own, who authenticates it as
// NTLM does.
type person struct {
	testing.TB
	*client
	name string
	is   string // what the app has answered since
}

func (h *host) person(name string) *person {
	h.Helper()
	c, err := dialClient(h.url)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(c.close)
	return &person{TB: h, client: c, name: name}
}

// asks sends a request with credentials, if there are any.
func (p *person) asks(credentials string) (*http.Response, string) {
	p.Helper()
	_ = p.conn.SetDeadline(time.Now().Add(patience))
	head := "GET /ntlm HTTP/1.1\r\nHost: web.test\r\n"
	if credentials != "" {
		head += "Authorization: NTLM " + base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00"+credentials)) + "\r\n"
	}
	if _, err := io.WriteString(p.conn, head+"\r\n"); err != nil {
		p.Fatalf("%s: %v", p.name, err)
	}
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil {
		p.Fatalf("%s: %v", p.name, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatalf("%s: %v", p.name, err)
	}
	return resp, string(body)
}

// begins takes the first step and returns what the second is about.
func (p *person) begins() (nonce string) {
	p.Helper()
	resp, body := p.asks("\x01")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(resp.Header.Get("WWW-Authenticate"), "NTLM "))
	nonce, ok := strings.CutPrefix(string(raw), "NTLMSSP\x00\x02")
	if resp.StatusCode != http.StatusUnauthorized || err != nil || !ok {
		p.Fatalf("%s got no challenge: %d %v %q", p.name, resp.StatusCode, resp.Header, body)
	}
	return nonce
}

func (p *person) completes(nonce string) {
	p.Helper()
	resp, body := p.asks("\x03" + p.name + "," + nonce)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, p.name+" ") {
		p.Fatalf("%s is %d %q", p.name, resp.StatusCode, body)
	}
	p.is = body
}

// isStill fails the test unless the app takes the client for whom it did, on
// the same connection; one that has not authenticated is nobody.
func (p *person) isStill() {
	p.Helper()
	resp, body := p.asks("")
	switch {
	case p.is == "" && resp.StatusCode != http.StatusUnauthorized:
		p.Errorf("nobody is %d %q", resp.StatusCode, body)
	case p.is != "" && (resp.StatusCode != http.StatusOK || body != p.is):
		p.Errorf("%s was %q and is %d %q", p.name, p.is, resp.StatusCode, body)
	}
}

// TestIdentity_UsersAreNeverMixedUp: the handshakes of two users on many
// connections, each step between the others', then their requests in any order,
// and among them those of nobody, on connections old and new.
func TestIdentity_UsersAreNeverMixedUp(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Instances = new(int32(2))
	h.apply(spec)
	var people []*person
	for i := range 24 {
		people = append(people, h.person([]string{"ada", "bob"}[i%2]))
	}
	nonces := make([]string, len(people))
	for i, p := range people {
		p.isStill()
		nonces[i] = p.begins()
	}
	for _, i := range rand.Perm(len(people)) {
		people[i].completes(nonces[i])
	}
	for range 4 {
		people = append(people, h.person("nobody"))
	}
	connections := map[string]bool{}
	for range 20 {
		for _, i := range rand.Perm(len(people)) {
			people[i].isStill()
			connections[people[i].is] = true
		}
		h.get("web", "/ntlm").wants(t, http.StatusUnauthorized)
	}
	if len(connections) != 24+1 { // and "", of nobody
		t.Errorf("users share connections: %v", connections)
	}
	// Whoever comes after them is nobody.
	for _, p := range people {
		p.close()
	}
	for range 40 {
		h.get("web", "/ntlm").wants(t, http.StatusUnauthorized)
	}
}

// TestIdentity_RecycleAsksAnew: an authenticated connection that is idle holds
// up no recycle, and whose it was has to say who it is to the new instance.
func TestIdentity_RecycleAsksAnew(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	spec := h.spec("web")
	spec.Stop = &roostv1.Stop{Drain: durationpb.New(100 * patience)}
	h.apply(spec)
	ada, bob := h.person("ada"), h.person("bob")
	for round := range 3 {
		for _, p := range []*person{ada, bob} {
			if resp, body := p.asks(""); resp.StatusCode != http.StatusUnauthorized {
				t.Fatalf("round %d: %s is %q before it has said so", round, p.name, body)
			}
			p.completes(p.begins())
			p.isStill()
		}
		old := h.live("web")
		if r := h.rollout(h.recycle("web")); r.Phase != roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE {
			t.Fatalf("rollout: %v", r)
		}
		h.eventually(fmt.Sprintf("round %d: the old instance is gone", round), func() bool {
			return len(old) == 1 && h.phase("web", old[0].Id) == 0
		})
	}
}
