package auth

import (
	"os/user"
	"strconv"
)

// OperatorGroup is the group whose members are operators.
const OperatorGroup = "roost"

// Policy says which roles a peer has.
type Policy struct {
	UID        uint32 // the daemon's own user
	ProxyGroup string
	// GroupID finds a group; false where there is none. LookupGroup does.
	GroupID func(name string) (gid uint32, ok bool)
}

// LookupGroup finds a group of this machine.
func LookupGroup(name string) (uint32, bool) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	gid, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(gid), err == nil
}

// Roles returns every role that applies to a peer that is of no instance.
func (p Policy) Roles(peer Peer) []Role {
	if peer.UID == 0 || peer.UID == p.UID {
		return []Role{Viewer, Operator, Admin, Proxy}
	}
	var roles []Role
	if p.member(peer, OperatorGroup) {
		roles = append(roles, Viewer, Operator)
	}
	if p.member(peer, p.ProxyGroup) {
		roles = append(roles, Proxy)
	}
	return roles
}

// WhoHas tells, for people, who has a role.
func (p Policy) WhoHas(r Role) string {
	admins := "be root or the daemon's user"
	switch r {
	case Viewer, Operator:
		return admins + ", or a member of the group " + OperatorGroup
	case Proxy:
		return admins + ", or a member of the group " + p.ProxyGroup
	}
	return admins
}

func (p Policy) member(peer Peer, group string) bool {
	gid, ok := p.GroupID(group)
	// A group 0 of that name would make every process of root's group a member.
	return ok && gid != 0 && peer.in(gid)
}
