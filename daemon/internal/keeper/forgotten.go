package keeper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// forgottenName is what a forgotten instance's record is called. It is no instance
// any more, but as long as there is output of it, whoever shows that must know the
// token to leave out.
const forgottenName = "forgotten.json"

// sweepEvery is how often at most Forget looks for output that was deleted.
const sweepEvery = time.Minute

// forgetRecord makes the record in an instance's folder a forgotten one.
func forgetRecord(dir, logDir string) error {
	err := os.Rename(filepath.Join(dir, recordName), filepath.Join(dir, forgottenName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return settleForgotten(dir, logDir)
}

// settleForgotten leaves of a folder without a record what is to be kept: the
// forgotten one while there is output, else nothing.
func settleForgotten(dir, logDir string) error {
	r, err := readRecord(dir, forgottenName)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errBroken):
		return err
	case err != nil || !hasOutput(r, logDir):
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		if e.Name() != forgottenName {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// hasOutput tells whether there is output of an instance. Where that cannot be
// told, there is.
func hasOutput(r *keeperv1.Record, logDir string) bool {
	_, err := os.Lstat(filepath.Join(logDir, r.GetApp(), r.GetInstance()))
	return !errors.Is(err, fs.ErrNotExist)
}

// outputDeleted removes the forgotten record of an instance whose last output was
// just deleted.
func (s *server) outputDeleted(id string) error {
	dir := instanceDir(s.cfg.StateDir, id)
	if _, err := os.Lstat(filepath.Join(dir, forgottenName)); err != nil {
		return nil // it is not forgotten yet, or there is none
	}
	return settleForgotten(dir, s.cfg.LogDir)
}

// sweepForgotten removes what was kept for output that is gone by other hands.
func (s *server) sweepForgotten(now time.Time) error {
	s.mu.Lock()
	due := now.Sub(s.swept) >= sweepEvery
	if due {
		s.swept = now
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	found, err := filepath.Glob(filepath.Join(instancesDir(s.cfg.StateDir), "*", forgottenName))
	errs := []error{err}
	for _, path := range found {
		errs = append(errs, settleForgotten(filepath.Dir(path), s.cfg.LogDir))
	}
	return errors.Join(errs...)
}

// forgottenRecords returns those of which there is output, once the others are settled.
func forgottenRecords(stateDir string) ([]*keeperv1.Record, error) {
	entries, err := os.ReadDir(instancesDir(stateDir))
	var list []*keeperv1.Record
	for _, e := range entries {
		r, err := readRecord(instanceDir(stateDir, e.Name()), forgottenName)
		switch {
		case err == nil:
			list = append(list, r)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errBroken):
			return nil, err
		}
	}
	return list, err
}

// recorded returns the record that an instance has, or had.
func recorded(stateDir, id string) (*keeperv1.Record, bool) {
	if !validID.MatchString(id) {
		return nil, false
	}
	for _, name := range []string{recordName, forgottenName} { // in the order that they come
		if r, err := readRecord(instanceDir(stateDir, id), name); err == nil {
			return r, true
		}
	}
	return nil, false
}
