package cli

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// timeFlag reads --since and such: so long ago, a time with its zone, or a local one.
func timeFlag(flag, s string, now time.Time) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return timestamppb.New(now.Add(-d)), nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return timestamppb.New(t), nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return timestamppb.New(t), nil
		}
	}
	return nil, usage("--%s %q is neither a duration such as 10m nor a time such as %s", flag, s, now.Format(time.RFC3339))
}
