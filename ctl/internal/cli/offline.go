package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// maxPage is how large a page may be, in bytes: the daemon's limit.
const maxPage = 1 << 20

func (p *program) offlineCommand() *cobra.Command {
	var page string
	c := &cobra.Command{
		Use:   "offline APP [--page FILE]",
		Short: "Take an app out of service with a page for its visitors",
		Long: `Offline takes an app out of service, as a file app_offline.htm in its folder does:
its open requests finish, its processes end, and every request is answered with 503
and the page, until "roostctl online". It stays offline across restarts of the
daemon. When the command returns, no process of the app is left, so that its files
can be replaced.`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
		RunE: p.run(func(ctx context.Context, args []string) error { return p.offline(ctx, args[0], page) }),
	}
	c.Flags().StringVar(&page, "page", "", "HTML `file` that requests get, - for stdin (default a page of the proxy's own)")
	return c
}

func (p *program) offline(ctx context.Context, name, file string) error {
	page, err := p.readPage(file)
	if err != nil {
		return err
	}
	resp, err := p.apps().SetAppOffline(ctx, &roostv1.SetAppOfflineRequest{Name: name, Offline: true, Page: page})
	if err != nil {
		return err
	}
	return p.finish(ctx, name, resp, func() {
		if p.begun(resp.GetRolloutId()) {
			p.say("%s is going offline", name)
		} else {
			p.say("%s is offline", name)
		}
	})
}

// readPage reads a page; none without a file.
func (p *program) readPage(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	in := p.Stdin
	if file != "-" {
		at := file
		if !filepath.IsAbs(at) {
			at = filepath.Join(p.Dir, at)
		}
		f, err := os.Open(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usage("--page: there is no file %s", file)
		}
		if err != nil {
			return nil, usage("--page: %v", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	page, err := io.ReadAll(io.LimitReader(in, maxPage+1))
	switch {
	case err != nil:
		return nil, usage("--page: %v", err)
	case len(page) > maxPage:
		return nil, usage("--page: %s is larger than 1 MiB: leave its pictures elsewhere", file)
	case len(page) == 0:
		return nil, usage("--page: %s is empty: leave --page out for a page of the proxy's own", file)
	}
	return page, nil
}

func (p *program) onlineCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "online APP",
		Short: "Put an app that is offline back in service",
		Long: `Online ends what "roostctl offline" began. The next request starts the app; one with
start.when: boot starts at once. It does not remove a file app_offline.htm from the
app's folder: as long as that is there, the app stays offline, and the command fails.`,
		Args: takes(1, 1), ValidArgsFunction: p.appNames,
		RunE: p.run(p.online),
	}
}

func (p *program) online(ctx context.Context, args []string) error {
	name := args[0]
	resp, err := p.apps().SetAppOffline(ctx, &roostv1.SetAppOfflineRequest{Name: name})
	if err != nil {
		return err
	}
	if resp.GetApp().GetState() == roostv1.AppState_APP_STATE_OFFLINE {
		return failed(exitFailed, "%s stays offline: app_offline.htm is in its folder %s: remove it", name, folderOf(resp.GetApp()))
	}
	return p.finish(ctx, name, resp, func() {
		if p.begun(resp.GetRolloutId()) {
			p.say("%s is going back in service", name)
		} else {
			p.say("%s is in service", name)
		}
	})
}
