// Package manifest reads and writes what people declare apps with: YAML, of
// which JSON is a subset, or the messages of the API in the same spelling.
//
// One codec walks YAML nodes and message descriptors together, in both
// directions, so that a file, the API and what roostctl prints share one schema:
// a field that is added to the proto is a key here at once. It knows types; the
// rules (what is required, what excludes what) are the daemon's, whose
// violations name the same paths and are shown at the same lines.
//
// The spelling: keys are the proto's field names, choices the enum's values in
// lower case with '-' and without their prefix, durations 90s, 5m or 29h, sizes
// 512MiB or 512M. What is text in the proto may be written without quotes
// (umask: 022), and a command may be one string, split as a shell would.
package manifest
