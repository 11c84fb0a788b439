// Package folder watches the folders that apps run from: whether app_offline.htm
// lies there, and when watched files change. It implements the supervisor's
// Watcher.
//
// One inotify descriptor serves all apps, so nothing is done while nothing
// happens. fsnotify is not used for it: it always asks for every single write, and
// an app that writes a log or a database into its own folder would wake the daemon
// with each; here a file counts once it is closed. A watched path is watched from
// the root of the file system down, for a folder is replaced by renaming it, or
// what is above it. An event says only that a folder is to be looked at again:
// what it shows is read from it, so none of them can be misunderstood, and losing
// some costs one more look.
package folder
