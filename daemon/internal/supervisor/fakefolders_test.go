package supervisor

import (
	"reflect"
	"sync"
	"testing/synctest"

	"github.com/roostd/roost/daemon/internal/app"
)

// fakeFolders is what apps' folders show; it outlives a supervisor.
type fakeFolders struct {
	mu      sync.Mutex
	pages   map[string]*app.OfflinePage // by folder
	watched map[string]app.Folder
	states  map[string]app.FolderState // by app, but for the page
	changes chan app.FolderChange
	dead    chan struct{} // while it is not nil, nothing answers before it is closed
}

func newFolders() *fakeFolders {
	return &fakeFolders{
		pages: map[string]*app.OfflinePage{}, watched: map[string]app.Folder{}, states: map[string]app.FolderState{},
		changes: make(chan app.FolderChange),
	}
}

func (f *fakeFolders) Look(dir string) *app.OfflinePage {
	if f.dead != nil {
		<-f.dead
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pages[dir]
}

func (f *fakeFolders) Watch(name string, w app.Folder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched[name], f.states[name] = w, app.FolderState{}
}

func (f *fakeFolders) Forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watched, name)
}

func (f *fakeFolders) Changes() <-chan app.FolderChange { return f.changes }

func (f *fakeFolders) folder(name string) app.Folder {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watched[name]
}

// changing tells whether watched files of the app are not settled.
func (f *fakeFolders) changing(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.states[name].Changing != ""
}

// put puts a page into a folder, or takes it away where it is nil, unseen.
func (f *fakeFolders) put(dir string, page *app.OfflinePage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pages[dir] = page
}

// change changes what the app's folder shows and tells the supervisor.
func (f *fakeFolders) change(name string, change func(s *app.FolderState)) {
	f.mu.Lock()
	w, s := f.watched[name], f.states[name]
	s.Page = f.pages[w.Dir]
	change(&s)
	f.pages[w.Dir], f.states[name] = s.Page, s
	f.mu.Unlock()
	f.changes <- app.FolderChange{App: name, Folder: w, State: s}
	synctest.Wait()
}

func (f *fakeFolders) page(name, html string) {
	f.change(name, func(s *app.FolderState) { s.Page = &app.OfflinePage{Page: []byte(html)} })
}

func (f *fakeFolders) noPage(name string) {
	f.change(name, func(s *app.FolderState) { s.Page = nil })
}

// touch changes a watched file, quiet makes it one that was left alone.
func (f *fakeFolders) touch(name, file string) {
	f.change(name, func(s *app.FolderState) { s.Changing = file })
}

func (f *fakeFolders) quiet(name string) {
	f.change(name, func(s *app.FolderState) { s.Changing, s.Changed = "", s.Changing; s.Settled++ })
}

// watching are the apps whose folders are watched as their serving specs say.
func (f *fakeFolders) watching(name string, a app.Stored) bool {
	return reflect.DeepEqual(f.folder(name), folderOf(a))
}
