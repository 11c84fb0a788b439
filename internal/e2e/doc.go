// Package e2e tests the real programs with real apps, kills them, and counts
// what was lost.
package e2e
