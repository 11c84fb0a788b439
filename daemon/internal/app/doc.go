// Package app holds the values and rules of Roost's domain: what an app is,
// what an instance is, and what may be asked of them. It imports the standard
// library only and does no I/O.
package app
