package keeper

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/roostd/roost/daemon/internal/app"
	"github.com/roostd/roost/daemon/internal/keeper/resolve"
	keeperv1 "github.com/roostd/roost/gen/roost/keeper/v1"
)

// toldNote is the fault of logs.stdout_file that was told already.
const toldNote = "roost.stdout_told"

// stdoutFile is where the keeper copies the app's output to; nil is nowhere.
func (p *prepared) stdoutFile(env resolve.Env) *keeperv1.StdoutFile {
	logs := p.launch.Spec.Logs
	if logs.StdoutFile == "" {
		return nil
	}
	secrets := env.SecretNames()
	prefix, err := app.Expand(logs.StdoutFile, func(name string) (string, bool) {
		v, ok := env.Values[name]
		return v, ok && !slices.Contains(secrets, name) // names of files are for all to see
	})
	if err != nil {
		p.fault = fmt.Sprintf("logs.stdout_file: %v", err)
		return nil
	}
	dir, base := filepath.Split(prefix) // not cleaned as a whole: base is only the beginning of a name
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(p.launch.Dir, dir)
	}
	file := &keeperv1.StdoutFile{Prefix: strings.TrimSuffix(filepath.Clean(dir), "/") + "/" + base, MaxSize: logs.MaxSize, MaxFiles: 1}
	if logs.MaxFiles != nil {
		file.MaxFiles = int32(*logs.MaxFiles)
	}
	return file
}

// tellFault tells once, of all daemons, that an instance's output is not copied as
// it should be.
func (p *Process) tellFault(fault, told string) {
	p.mu.Lock()
	known := fault == "" || fault == told || p.fault == fault
	if !known {
		p.fault = fault
	}
	info := p.info
	p.mu.Unlock()
	if known || p.client.cfg.StdoutFault == nil {
		return
	}
	p.client.cfg.StdoutFault(info, fault)
	p.noteTold(toldNote, fault)
}
