// Package http1 is Roost's HTTP/1.1 engine: a strict parser and a writer as
// state over buffers. Nothing here reads, waits or allocates per message, so
// that a goroutine per connection and an event loop can drive the same code.
//
// Strictness is RFC 9112 to the letter, and where the RFC leaves a choice to
// the recipient (bare LF, obs-fold, repeated equal Content-Length) the message
// is refused: what a proxy and an app read differently is how requests are
// smuggled.
package http1

// Limits of one message.
const (
	// MaxHead bounds a request or response head, in bytes.
	MaxHead = 64 << 10
	// MaxFields bounds the number of fields in a head or a trailer section.
	MaxFields = 1000
	// MaxTrailer bounds a trailer section, in bytes.
	MaxTrailer = 8 << 10
	// maxConnections and maxOptions bound the Connection fields, and the options
	// of all of them together: each is compared with the name of each field.
	maxConnections = 8
	maxOptions     = 20
	// maxExtension bounds all chunk extensions of one body together, in bytes:
	// they carry nothing that anybody uses, but cost as much as a body.
	maxExtension = 16 << 10
)

// Error says why bytes are not an acceptable message. Its values are the Err
// variables of this package, so parsing allocates nothing.
type Error struct {
	// Status is the answer to a request with this fault: 400 or 431.
	Status int
	// Reason is a sentence without a full stop for logs and answers. It
	// never quotes what the peer sent.
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// The faults of a message.
var (
	ErrBareLF        = &Error{400, "a line ends with a bare LF"}
	ErrHeadTooLarge  = &Error{431, "the head is larger than 64 KiB"}
	ErrFields        = &Error{431, "too many fields"}
	ErrOptions       = &Error{431, "too many Connection options"}
	ErrTrailer       = &Error{431, "the trailer section is too large"}
	ErrRequestLine   = &Error{400, "malformed request line"}
	ErrVersion       = &Error{400, "not HTTP/1.0 or HTTP/1.1"}
	ErrTarget        = &Error{400, "malformed request target"}
	ErrEscape        = &Error{400, "bad percent escape in the path"}
	ErrAboveRoot     = &Error{400, "the path leads above the root"}
	ErrObsFold       = &Error{400, "a field is folded over several lines"}
	ErrFieldName     = &Error{400, "malformed field name"}
	ErrFieldValue    = &Error{400, "a control character in a field value"}
	ErrHost          = &Error{400, "malformed Host"}
	ErrHostMissing   = &Error{400, "no Host"}
	ErrHostTwice     = &Error{400, "more than one Host"}
	ErrLength        = &Error{400, "malformed Content-Length"}
	ErrLengthTwice   = &Error{400, "more than one Content-Length"}
	ErrCoding        = &Error{400, "a Transfer-Encoding other than one chunked"}
	ErrCodingAndLen  = &Error{400, "both Transfer-Encoding and Content-Length"}
	ErrCodingOn10    = &Error{400, "Transfer-Encoding in an HTTP/1.0 message"}
	ErrChunkSize     = &Error{400, "malformed chunk size"}
	ErrChunkExt      = &Error{400, "malformed chunk extension"}
	ErrChunkEnd      = &Error{400, "a chunk does not end with CRLF"}
	ErrStatusLine    = &Error{400, "malformed status line"}
	ErrTruncatedBody = &Error{400, "the body ends before its last byte"}
)
