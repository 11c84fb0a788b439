package supervisor

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
)

// newID returns 80 random bits as 16 characters, for instances and rollouts:
// never reused, not by another daemon either.
func newID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // it never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

func newInstanceID() app.InstanceID { return app.InstanceID(newID()) }

// newToken returns an instance's pairing token, 128 random bits.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
