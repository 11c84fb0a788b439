package stdoutfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// again goes on with the rig's copy, as another keeper does.
func (r *rig) again() {
	r.tb.Helper()
	f := r.files
	f.Resume, f.Open = true, &Open{}
	r.copy = New(f, r.streams, func(err error) { r.faults = append(r.faults, err) }, hclog.NewNullLogger())
	for n, size := range r.size {
		r.copy.Moved(n, size)
	}
	go r.copy.Run(r.tb.Context())
}

func newJournalled(tb testing.TB) *rig {
	r := newRig(tb)
	r.files.Journal = filepath.Join(r.dir, "journal")
	return r
}

func TestResume_GoesOnWhereTheLastKeeperEnded(t *testing.T) {
	r := newJournalled(t).run()
	r.end() // before anything was written
	var want strings.Builder
	for i := range 5 {
		out, err := fmt.Sprintf("out %d\n", i), fmt.Sprintf("err %d\n", i)
		r.again()
		r.write(i%2, out)
		r.write(1-i%2, err)
		r.end()
		want.WriteString(out + err)
	}
	if got := r.read("out_20260708071011_77.log"); got != want.String() || len(r.faults) > 0 {
		t.Errorf("the copy is %q, want %q, faults %v", got, want.String(), r.faults)
	}
}

// However much of what it announced a keeper had written when it was killed.
func TestResume_LosesAndRepeatsNoByteOfAWriteThatWasCut(t *testing.T) {
	const first, text = "before\n", "0123456789\n"
	for written := range len(text) + 1 {
		t.Run(fmt.Sprint(written), func(t *testing.T) {
			r := newJournalled(t).run()
			r.write(0, first)
			r.write(1, text)
			r.end()
			path := r.files.name(0)
			if err := os.Truncate(path, int64(len(first)+written)); err != nil {
				t.Fatal(err)
			}
			r.again()
			r.write(0, "after\n")
			r.end()
			if got, want := r.read(filepath.Base(path)), first+text; !strings.HasPrefix(got, first+text[:written]) ||
				len(got) != len(want)+len("after\n") || strings.Replace(got, "after\n", "", 1) != want {
				t.Errorf("the copy is %q", got)
			}
		})
	}
}

func TestResume_RollsAsBefore(t *testing.T) {
	r := newJournalled(t)
	r.files.MaxSize, r.files.MaxFiles = 4096, 1000
	r.run()
	var want strings.Builder
	for i := range 1000 {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("y", i%53))
		want.WriteString(line)
		r.write(0, line)
		if i%100 == 50 {
			r.end()
			r.again()
		}
	}
	r.end()
	var got strings.Builder
	for _, name := range r.names() {
		got.WriteString(r.read(name))
	}
	if got.String() != want.String() {
		t.Errorf("%d bytes, want %d", got.Len(), want.Len())
	}
}

func TestResume_AFileThatIsNotTheSameIsLeftAlone(t *testing.T) {
	for name, replace := range map[string]func(path, other string) error{
		"another file": func(path, other string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		},
		"a link": func(path, other string) error {
			return errors.Join(os.Rename(path, path+".old"), os.Symlink(other, path))
		},
		"nothing":  func(path, other string) error { return os.Remove(path) },
		"a folder": func(path, other string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newJournalled(t).run()
			r.write(0, "before\n")
			r.end()
			other := filepath.Join(r.dir, "other")
			if err := errors.Join(os.WriteFile(other, nil, 0o600), replace(r.files.name(0), other)); err != nil {
				t.Fatal(err)
			}
			r.again()
			r.write(0, "after\n")
			r.end()
			if got := r.read(filepath.Base(r.files.name(1))); got != "after\n" || len(r.faults) > 0 {
				t.Errorf("the next file holds %q, faults %v", got, r.faults)
			}
			if data, err := os.ReadFile(other); len(data) > 0 || err != nil {
				t.Errorf("written through a link: %q, %v", data, err)
			}
		})
	}
}

func TestResume_WithoutAJournalItIsTold(t *testing.T) {
	for name, content := range map[string]string{"none": "", "half": "ab", "other": strings.Repeat("x", 72)} {
		t.Run(name, func(t *testing.T) {
			r := newJournalled(t).run()
			r.write(0, "before\n")
			r.end()
			if err := os.Remove(r.files.Journal); err != nil {
				t.Fatal(err)
			}
			if content != "" {
				if err := os.WriteFile(r.files.Journal, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r.again()
			<-r.copy.Done()
			if len(r.faults) != 1 || !errors.Is(r.faults[0], errUnknown) {
				t.Errorf("faults %v", r.faults)
			}
			if got := r.read(filepath.Base(r.files.name(0))); got != "before\n" {
				t.Errorf("the copy is %q", got)
			}
		})
	}
}
