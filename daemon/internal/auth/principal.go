package auth

import (
	"context"
	"fmt"
	"os/user"
	"slices"
	"strconv"

	"google.golang.org/grpc/peer"
)

// Principal is who calls.
type Principal struct {
	Peer  Peer
	Roles []Role
}

// Has tells whether the principal has a role.
func (p Principal) Has(r Role) bool { return slices.Contains(p.Roles, r) }

// Actor names the principal for events: uid 1000 (alice).
func (p Principal) Actor() string {
	uid := strconv.FormatUint(uint64(p.Peer.UID), 10)
	u, err := user.LookupId(uid)
	if err != nil {
		return "uid " + uid
	}
	return fmt.Sprintf("uid %s (%s)", uid, u.Username)
}

type principalKey struct{}

// With returns ctx with its principal.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns the principal of ctx, one without roles where it has none.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// PeerOf names the process that calls, for logs.
func PeerOf(ctx context.Context) string {
	caller, ok := peer.FromContext(ctx)
	if !ok {
		return "unknown"
	}
	info, ok := caller.AuthInfo.(*authInfo)
	if !ok {
		return "unidentified"
	}
	return fmt.Sprintf("pid %d, uid %d", info.peer.PID, info.peer.UID)
}
