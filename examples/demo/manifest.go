package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// manifest is examples/roost.yaml, without the apps that this machine cannot run.
type manifest struct {
	path    string
	changed bool // what is left is not what the file says
	doc     yaml.Node
	apps    *yaml.Node // a mapping: names and specs in turn
}

func readManifest(path string) (*manifest, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := &manifest{path: path}
	if err := yaml.Unmarshal(text, &m.doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(m.doc.Content) == 1 {
		m.apps = field(m.doc.Content[0], "apps")
	}
	if m.apps == nil || m.apps.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: it has no apps", path)
	}
	return m, nil
}

type skipped struct{ app, program string }

// skipMissing takes out the apps whose program, such as node, is not installed.
func (m *manifest) skipMissing() []skipped {
	var missing []skipped
	var kept []*yaml.Node
	for pair := range slices.Chunk(m.apps.Content, 2) {
		program := program(pair[1])
		if _, err := exec.LookPath(program); err != nil && !strings.Contains(program, "/") {
			missing = append(missing, skipped{app: pair[0].Value, program: program})
			continue
		}
		kept = append(kept, pair...)
	}
	m.apps.Content = kept
	m.changed = len(missing) > 0
	return missing
}

// programs are the installed ones that the apps need, with their paths.
func (m *manifest) programs() []string {
	var paths []string
	for pair := range slices.Chunk(m.apps.Content, 2) {
		if path, err := exec.LookPath(program(pair[1])); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

func (m *manifest) has(app string) bool { return field(m.apps, app) != nil }
func (m *manifest) len() int            { return len(m.apps.Content) / 2 }

func (m *manifest) text() (string, error) {
	text, err := yaml.Marshal(&m.doc)
	return string(text), err
}

// program returns the first word of an app's command.
func program(spec *yaml.Node) string {
	command := field(spec, "command")
	switch {
	case command == nil:
		return ""
	case command.Kind == yaml.SequenceNode && len(command.Content) > 0:
		return command.Content[0].Value
	default:
		word, _, _ := strings.Cut(command.Value, " ")
		return word
	}
}

// field returns the value of a key of a mapping, or nil.
func field(mapping *yaml.Node, key string) *yaml.Node {
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	for pair := range slices.Chunk(mapping.Content, 2) {
		if pair[0].Value == key {
			return pair[1]
		}
	}
	return nil
}
