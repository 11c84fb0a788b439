package app

import "time"

// OfflineFile is the file that takes an app out of service while it lies in the
// app's folder. Its name counts in any case.
const OfflineFile = "app_offline.htm"

// MaxOfflinePage is how large the page of an app that is offline may be, in bytes.
const MaxOfflinePage = 1 << 20

// Folder is what is watched of the folder that an app runs from.
type Folder struct {
	Dir    string        // with links resolved
	Watch  []string      // patterns of files below it
	Settle time.Duration // how long those must be left alone after a change
}

// FolderState is what a folder shows.
type FolderState struct {
	// Page is that of its OfflineFile; nil: there is none.
	Page *OfflinePage
	// Changing is a watched file that was changed a moment ago; "": they are quiet.
	Changing string
	// Settled counts how often they have become quiet after a change, Changed is
	// the file of the last one.
	Settled int
	Changed string
	// Newest is the watched file that was changed last, at NewestTime of the wall
	// clock, as far as the files themselves say; "": there is none.
	Newest     string
	NewestTime time.Time
	// Polled is why it is looked at from time to time only; "": the kernel tells.
	Polled string
}

// FolderChange says that the folder of an app shows something else.
type FolderChange struct {
	App    string
	Folder Folder
	State  FolderState
}
