package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/roostd/roost/daemon/internal/app"
)

const (
	// longestLine is how much of a line without an end is kept.
	longestLine = 64 << 10
	// lineCarry is kept of a longer one, so that a pattern may straddle the cut.
	lineCarry = 4 << 10
	// promptQuiet is how long the end of the output must rest to count as a line
	// without its end: a prompt. Sooner, "$" would match half a line.
	promptQuiet = 100 * time.Millisecond
)

// logLine waits for a line of the app's output that matches ready.log.pattern.
type logLine struct {
	*target
	streams []*lines
}

func (s *logLine) wait(ctx context.Context) error {
	pattern, err := regexp.Compile(s.l.Spec.Ready.Pattern)
	if err != nil {
		return &app.StartError{Step: "probe", Message: fmt.Sprintf("ready.log.pattern: %v", err), Err: err}
	}
	for _, name := range []string{"stdout", "stderr"} {
		in := s.cfg.Output.Open(s.l.Spec.Name, s.l.ID, name)
		defer func() { _ = in.Close() }()
		s.streams = append(s.streams, &lines{in: in, match: pattern.Match})
	}
	return poll(ctx, s.pace(firstPause), func(context.Context) (bool, error) {
		for _, stream := range s.streams {
			if done, err := stream.try(); done || err != nil {
				return done, err
			}
		}
		return false, nil
	})
}

func (s *logLine) missing(context.Context) string {
	return fmt.Sprintf("no line of the app's output matches %q", s.l.Spec.Ready.Pattern)
}

// lines matches the lines of one stream.
type lines struct {
	in    io.Reader
	match func([]byte) bool
	rest  []byte    // of a line whose end has not come
	grown time.Time // when rest last grew
	asked bool      // rest was matched as a prompt since
}

// try reads what has come and tells whether a line matched.
func (s *lines) try() (bool, error) {
	chunk := make([]byte, 16<<10)
	for {
		n, err := s.in.Read(chunk)
		if n > 0 && s.add(chunk[:n]) {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return s.prompt(), nil
		}
		if err != nil {
			return false, fmt.Errorf("read the app's output: %w", err)
		}
	}
}

// add takes bytes and tells whether a line that they end matched.
func (s *lines) add(b []byte) bool {
	s.grown, s.asked = time.Now(), false
	for {
		line, after, ended := bytes.Cut(b, []byte{'\n'})
		s.rest = append(s.rest, line...)
		if !ended {
			break
		}
		if s.match(bytes.TrimSuffix(s.rest, []byte{'\r'})) {
			return true
		}
		s.rest, b = s.rest[:0], after
	}
	if len(s.rest) <= longestLine {
		return false
	}
	matched := s.match(s.rest)
	s.rest = append(s.rest[:0], s.rest[len(s.rest)-lineCarry:]...)
	return matched
}

// prompt matches a line without an end, once it has rested.
func (s *lines) prompt() bool {
	if len(s.rest) == 0 || s.asked || time.Since(s.grown) < promptQuiet {
		return false
	}
	s.asked = true
	return s.match(s.rest)
}
