// Package webconfig reads the web.config of an ASP.NET Core app as IIS would,
// and says the same as an AppSpec.
//
// What has a meaning here is carried over, with IIS's own defaults written out.
// What would weaken or break the site if it were dropped is a fault, a loss, that
// names what replaces it and goes only with the user's word (--accept-loss).
// What is merely without meaning is a warning that says what to do instead. All
// faults are found in one go, each with its line and column.
//
// It reads the folder of the file too: whether X.exe is a Windows program or a
// host of X.dll, and how a name is really spelt, only the files can say.
package webconfig
