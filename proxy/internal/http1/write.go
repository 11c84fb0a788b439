package http1

const hexDigits = "0123456789abcdef"

// Pieces of the chunked coding.
const (
	// CRLF ends a line and a chunk's data.
	CRLF = "\r\n"
	// LastChunk is followed by the trailer section and an empty line.
	LastChunk = "0\r\n"
)

// AppendChunkSize appends the line before a chunk of n bytes, n > 0.
func AppendChunkSize(dst []byte, n int) []byte {
	var digits [16]byte
	i := len(digits)
	for n > 0 {
		i--
		digits[i] = hexDigits[n&15]
		n >>= 4
	}
	dst = append(dst, digits[i:]...)
	return append(dst, CRLF...)
}

// AppendStatus appends "HTTP/1.1 status reason CRLF".
func AppendStatus(dst []byte, status int, reason []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10), ' ')
	dst = append(dst, reason...)
	return append(dst, CRLF...)
}

// AppendField appends one field line. The value must be clean already.
func AppendField[V string | []byte](dst []byte, name string, value V) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, CRLF...)
}
