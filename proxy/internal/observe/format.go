package observe

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/roostd/roost/proxy/internal/forward"
)

// appendJSON appends r as one object on a line. The order of the fields is part
// of the format.
func appendJSON(b []byte, r *forward.Record) []byte {
	b = append(b, `{"time":"`...)
	b = appendTime(b, r.Time)
	b = appendField(b, `","app":`, r.App)
	b = appendField(b, `,"instance":`, r.Instance)
	b = appendInt(b, `,"generation":`, r.Generation)
	b = appendField(b, `,"client":`, r.Client)
	b = appendField(b, `,"host":`, r.Host)
	b = appendField(b, `,"method":`, r.Method)
	b = appendField(b, `,"path":`, r.Path)
	b = appendField(b, `,"query":`, trimQuery(r.Query))
	b = appendField(b, `,"proto":`, r.Proto)
	b = appendInt(b, `,"status":`, int64(r.Status))
	b = appendField(b, `,"error":`, r.Error)
	b = appendInt(b, `,"bytes_in":`, r.BytesIn)
	b = appendInt(b, `,"bytes_out":`, r.BytesOut)
	b = appendMillis(b, `,"duration_ms":`, r.Duration)
	b = appendMillis(b, `,"wait_ms":`, r.Wait)
	b = appendMillis(b, `,"backend_ms":`, r.Backend)
	b = appendField(b, `,"request_id":`, r.RequestID)
	return append(b, "}\n"...)
}

func appendField[T string | []byte](b []byte, name string, value T) []byte {
	return appendQuoted(append(b, name...), value)
}

func appendInt(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}

// appendTime appends t in UTC, with milliseconds. Only a layout that package time
// knows by heart is quick; it has no fraction of a fixed length.
func appendTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, time.RFC3339)
	return append(appendDecimals(b[:len(b)-1], t.Nanosecond()/1e6), 'Z')
}

// appendDecimals appends a point and the three digits of n.
func appendDecimals(b []byte, n int) []byte {
	return append(b, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

// appendMillis appends d in milliseconds, to the microsecond.
func appendMillis(b []byte, name string, d time.Duration) []byte {
	us := d.Microseconds()
	b = appendInt(b, name, us/1000)
	if us %= 1000; us <= 0 {
		return b
	}
	b = appendDecimals(b, int(us))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

func trimQuery(q []byte) []byte {
	if len(q) > 0 && q[0] == '?' {
		return q[1:]
	}
	return q
}

const hex = "0123456789abcdef"

// appendQuoted appends a JSON string. What clients send need not be UTF-8, and a
// line must be valid all the same: bytes that are none become U+FFFD.
func appendQuoted[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		plain := i
		for i < len(s) && asIs[s[i]] {
			i++
		}
		b = append(b, s[plain:i]...)
		if i == len(s) {
			break
		}
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		default:
			r, n := decode(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(b, `\ufffd`...)
			} else {
				b = append(b, s[i:i+n]...)
			}
			i += n
		}
	}
	return append(b, '"')
}

// asIs marks the bytes that need no thought in a JSON string.
var asIs = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// decode is utf8.DecodeRune for both kinds of text, of the first bytes alone, so
// that neither is copied as a whole.
func decode[T string | []byte](s T) (rune, int) {
	var first [utf8.UTFMax]byte
	return utf8.DecodeRune(first[:copy(first[:], s)])
}

// appendCombined appends r in the combined log format. Its time is local, as it
// is with other servers.
func appendCombined(b []byte, r *forward.Record) []byte {
	b = appendOrDash(b, r.Client)
	b = append(b, " - - ["...)
	b = r.Time.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	b = append(b, `] "`...)
	if len(r.Method) > 0 {
		b = appendEscaped(b, r.Method)
		b = append(b, ' ')
		b = appendEscaped(b, r.Path)
		b = appendEscaped(b, r.Query)
		b = append(b, ' ')
		b = append(b, r.Proto...)
	} else {
		b = append(b, '-') // malformed: there was no request line
	}
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.BytesOut, 10)
	b = appendOrDash(append(b, ` "`...), r.Referer)
	b = appendOrDash(append(b, `" "`...), r.UserAgent)
	return append(b, "\"\n"...)
}

func appendOrDash[T string | []byte](b []byte, s T) []byte {
	if len(s) == 0 {
		return append(b, '-')
	}
	return appendEscaped(b, s)
}

// appendEscaped appends s as nginx does: what could end the field or the line,
// and what is not ASCII, as \xXX.
func appendEscaped[T string | []byte](b []byte, s T) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			b = append(b, '\\', 'x', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

const upperHex = "0123456789ABCDEF"
