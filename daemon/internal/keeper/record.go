package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/encoding/protojson"

	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// An instance has a folder below the state dir: its record, and the FIFOs that it
// writes to.

func instancesDir(stateDir string) string { return filepath.Join(stateDir, "instances") }

func instanceDir(stateDir, id string) string { return filepath.Join(instancesDir(stateDir), id) }

const recordName = "record.json"

// errBroken is a record that says nothing.
var errBroken = errors.New("it cannot be understood")

// writeRecord renames a record into place. It is not synced: it must outlive a
// keeper, and a machine's end makes it history anyway. What is lost with it then is
// the exit of an instance that is no more, and a token that no process knows. What
// an app is to be after a boot is in the store, which is synced.
func writeRecord(dir string, r *keeperv1.Record) error {
	data, err := protojson.Marshal(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, recordName)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readRecord(dir, name string) (*keeperv1.Record, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	r := &keeperv1.Record{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", filepath.Join(dir, name), errBroken, err)
	}
	if r.GetInstance() != filepath.Base(dir) {
		return nil, fmt.Errorf("%s: %w: it is of instance %q", filepath.Join(dir, name), errBroken, r.GetInstance())
	}
	return r, nil
}

// readRecords returns all records. A folder without one is left of a start that was
// cut off, and is removed, or has a forgotten one. One with a broken record is
// removed, too: only a machine's end cuts a record off, and it ends the instance.
func readRecords(stateDir, logDir string, log hclog.Logger) ([]*keeperv1.Record, error) {
	entries, err := os.ReadDir(instancesDir(stateDir))
	if err != nil {
		return nil, err
	}
	var list []*keeperv1.Record
	var errs []error
	for _, e := range entries {
		dir := instanceDir(stateDir, e.Name())
		r, err := readRecord(dir, recordName)
		switch {
		case err == nil:
			list = append(list, r)
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, settleForgotten(dir, logDir))
		case errors.Is(err, errBroken):
			log.Error("removing a record: what is left of its instance is killed where it has a cgroup", "error", err)
			errs = append(errs, os.RemoveAll(dir))
		default:
			errs = append(errs, err)
		}
	}
	return list, errors.Join(errs...)
}
