package pump

import "time"

// pace says how long to wait between two looks at a stream. An app that writes
// many small lines would wake the pump for each of them; left alone for a
// moment, it hands over hundreds at once. What comes after a silence is moved at
// once, and nothing waits longer than paceMax.
type pace struct{ d time.Duration }

const (
	paceMin = time.Millisecond
	paceMax = 16 * time.Millisecond
	// fewBytes is too little for a look, manyBytes so much that the pipe may soon
	// be full and the app wait.
	fewBytes, manyBytes = 64 << 10, 256 << 10
)

// after returns the wait after n bytes; waited tells that the stream had been
// silent before them.
func (p *pace) after(n int, waited bool) time.Duration {
	switch {
	case waited:
		p.d = paceMin
	case n < fewBytes:
		p.d = min(max(2*p.d, paceMin), paceMax)
	case n >= manyBytes:
		p.d /= 2
		if p.d < paceMin/4 {
			p.d = 0
		}
	}
	return p.d
}
