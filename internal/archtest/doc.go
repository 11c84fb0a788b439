// Package archtest keeps the rules of ARCHITECTURE.md that the compiler cannot:
// who may import what, who may read the environment, who may start a process.
// It has tests only. A rule that is in the way is changed here, with its reason,
// in the commit that needs it.
package archtest
