package forward

import (
	"time"
)

// Record is one exchange, as the access log has it. Slices and the record
// itself are reused: they are valid only during Observer.Exchange.
type Record struct {
	// Time is when the exchange began.
	Time time.Time
	// App, Instance and Generation are empty where none was chosen.
	App        string
	Instance   string
	Generation int64
	// Client is the address of the client: the peer's, or the one that
	// trusted proxies name.
	Client string
	// Host is as the client named it, with its port if there was one.
	Host   []byte
	Method []byte
	// Path has its dot segments resolved; Query starts with "?" or is empty.
	Path  []byte
	Query []byte
	// Proto is "HTTP/1.1" or "HTTP/1.0".
	Proto string
	// Status is that of the answer, 101 of an upgraded connection, 499 when
	// the client left before there was one.
	Status int
	// Error is the Roost-Error of a generated answer, or why an answer was
	// cut; empty when all went well.
	Error string
	// BytesIn and BytesOut count the bodies, without heads and chunk sizes,
	// and both directions of an upgraded connection.
	BytesIn, BytesOut int64
	// Duration is from the first byte of the request to the last of the
	// answer, Wait the part of it spent waiting for an instance, Backend
	// the part from the request being sent to the end of the app's answer.
	Duration, Wait, Backend time.Duration
	// RequestID is the X-Request-Id that the app saw.
	RequestID []byte
	// Referer and UserAgent are as the client sent them; only the combined
	// log format has them.
	Referer, UserAgent []byte
	// Reason says more about Error, for logs; it never has the app's output.
	Reason string
}
