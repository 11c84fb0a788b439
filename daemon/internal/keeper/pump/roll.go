package pump

// SetLimits has the stream go on in a new segment once one has so many bytes; 0 is
// never. With block, what cannot be written waits, else it is dropped. It may be
// called at any time.
func (p *Pump) SetLimits(bytes int64, block bool) {
	p.maxSize.Store(bytes)
	p.block.Store(block)
	p.tryAgain()
}

// OnRoll has f called after each new segment. It must not block, and is set before
// Run.
func (p *Pump) OnRoll(f func()) { p.rolled = f }

// OnFull has f asked before each segment is begun why it may not be, "" where it
// may. What is written meanwhile waits, and f is asked again every second. It is set
// before Run.
func (p *Pump) OnFull(f func() (why string)) { p.full = f }

// Unblock lets the stream begin its next segment whatever OnFull says.
func (p *Pump) Unblock() {
	p.pass.Store(true)
	p.tryAgain()
}

func (p *Pump) tryAgain() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// fullError says that no segment may be begun.
type fullError struct{ why string }

func (e *fullError) Error() string { return e.why }

// roll begins a new segment where one is full. Where that fails the old one goes on
// growing: an app is not to wait for it. Where it is not allowed to, that is a
// fullError.
func (p *Pump) roll() error {
	limit := p.maxSize.Load()
	due := limit > 0 && p.end-p.start >= limit
	if !due && p.granted {
		return nil
	}
	if why := p.refused(); why != "" && p.waiting() > 0 {
		return &fullError{why}
	} else if why != "" {
		return nil // there is nothing yet, or the end
	}
	p.granted = true
	if due {
		p.next()
	}
	return nil
}

// refused is why no segment may be begun; "" where one may.
func (p *Pump) refused() string {
	if p.full == nil || isClosed(p.finish) && !p.leaving.Load() {
		return ""
	}
	why := p.full()
	if why != "" && p.pass.CompareAndSwap(true, false) {
		return ""
	}
	return why
}

func (p *Pump) next() {
	err := p.begin(p.end)
	if err != nil {
		// A part of it may be there. Nothing was written to it, and left behind it
		// would hide what the old one gets now.
		p.files.remove(p.end)
	}
	p.granted = true
	if err != nil && !p.stuck {
		p.log.Warn("cannot begin a new segment, the old one grows", "segment", p.segment.Name(), "error", err)
	}
	if p.stuck = err != nil; !p.stuck && p.rolled != nil {
		p.rolled()
	}
}

// room is how much goes into the segment at once.
func (p *Pump) room() int {
	if left := p.maxSize.Load() - (p.end - p.start); left > 0 {
		return int(min(left, batch))
	}
	return batch
}
