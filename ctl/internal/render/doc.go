// Package render turns what the daemon answers into what people and programs
// read: aligned tables, ages, colours on a terminal, and the messages themselves
// as JSON or YAML.
//
// It prints nothing that a terminal would obey instead of show, wherever a text
// may come from an app or a stranger.
package render
