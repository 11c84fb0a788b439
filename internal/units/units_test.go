package units

import "testing"

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "10k": 10_000, "10K": 10_000, "1KiB": 1024, "1.5GiB": 3 << 29, "512M": 512e6, "512MB": 512e6, "1 TiB": 1 << 40, "100B": 100} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 1000: "1000", 1024: "1KiB", 3 << 29: "1536MiB", 4 << 30: "4GiB"} {
		if got := FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5", "5Q", "1e3", "99999999T"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}
