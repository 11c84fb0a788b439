package manifest

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"go.yaml.in/yaml/v4"
)

// maxExpanded bounds what a source may expand to by aliases, in bytes of its
// texts and some for each value: the largest message that the daemon takes.
const (
	maxExpanded = 16 << 20
	valueCost   = 16
	maxMerges   = 8 // merge keys inside merge keys
)

// decoder reads one source. It goes on after a fault, to find them all.
type decoder struct {
	src     Source
	lines   []string
	faults  Faults
	marks   map[string]mark // path to its place
	budget  int
	tooMuch bool
}

// mark is the place of a field's value, or of its key where the value is a block.
type mark struct{ line, column int }

// entry is a key of a mapping with its value.
type entry struct {
	name       string
	key, value *yaml.Node // aliases not followed
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = resolve(n)
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// spend takes the cost of a value off the budget and reports whether it was there.
func (d *decoder) spend(n *yaml.Node, cost int) bool {
	d.budget -= cost + valueCost
	if d.budget < 0 && !d.tooMuch {
		d.tooMuch = true
		d.faultAt(n.Line, n.Column, "", "too much: with its aliases the manifest expands to more than %d MiB", maxExpanded>>20)
	}
	return !d.tooMuch
}

func (d *decoder) mark(path string, e entry) {
	at, v := e.key, resolve(e.value)
	if e.value.Kind == yaml.AliasNode || v.Kind == yaml.ScalarNode && v.Line > 0 && !isNull(v) || v.Style&yaml.FlowStyle != 0 {
		at = e.value
	}
	d.marks[path] = mark{at.Line, at.Column}
}

// find returns the place of path: its own, that of the same field of the
// defaults, or that of what is around it.
func (d *decoder) find(path string) (mark, bool) {
	for {
		if at, ok := d.marks[path]; ok {
			return at, true
		}
		if rest, ok := strings.CutPrefix(path, "apps."); ok {
			if _, field, ok := strings.Cut(rest, "."); ok {
				if at, ok := d.marks["defaults."+field]; ok {
					return at, true
				}
			}
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return mark{}, false
		}
		path = path[:i]
	}
}

func (d *decoder) faultFor(path, format string, args ...any) {
	at, _ := d.find(path)
	d.faultAt(at.line, at.column, path, format, args...)
}

// entries returns a mapping's keys with their values: its own, then what merge
// keys (<<) bring that it has not itself.
func (d *decoder) entries(path string, n *yaml.Node) []entry {
	seen := map[string]*yaml.Node{}
	return d.collect(path, n, seen, 0)
}

func (d *decoder) collect(path string, n *yaml.Node, seen map[string]*yaml.Node, depth int) []entry {
	var own, merges []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		if !d.spend(key, len(key.Value)) {
			return own
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			d.wrongType(key, path, "a key that is text")
		case key.ShortTag() == "!!merge":
			merges = append(merges, entry{"<<", n.Content[i], value})
		default:
			if first, dup := seen[key.Value]; !dup {
				seen[key.Value] = key
				own = append(own, entry{key.Value, n.Content[i], value})
			} else if depth == 0 {
				d.faultAt(n.Content[i].Line, n.Content[i].Column, join(path, key.Value),
					"duplicate key %q: line %d has it already", key.Value, first.Line)
			}
		}
	}
	for _, m := range merges {
		own = append(own, d.merged(path, m.value, seen, depth+1)...)
	}
	return own
}

// merged returns what a merge key brings: a mapping, or a list of them of which
// an earlier one wins.
func (d *decoder) merged(path string, at *yaml.Node, seen map[string]*yaml.Node, depth int) []entry {
	n := resolve(at)
	if depth > maxMerges {
		d.faultAt(at.Line, at.Column, path, "merge keys lie inside one another more than %d deep", maxMerges)
		d.tooMuch = true
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return d.collect(path, n, seen, depth)
	case yaml.SequenceNode:
		var all []entry
		for _, c := range n.Content {
			if !d.spend(c, 0) {
				break
			}
			if resolve(c).Kind != yaml.MappingNode {
				d.wrongType(c, path, "a mapping to merge")
				continue
			}
			all = append(all, d.merged(path, c, seen, depth+1)...)
		}
		return all
	}
	d.wrongType(at, path, "a mapping to merge")
	return nil
}

// message decodes a mapping over what msg holds already: lists are replaced,
// maps and messages are merged, and null takes a field back.
func (d *decoder) message(path string, at *yaml.Node, msg protoreflect.Message) {
	n := resolve(at)
	desc := msg.Descriptor()
	if n.Kind != yaml.MappingNode {
		d.wrongType(at, path, "a mapping with "+list(keys(desc)))
		return
	}
	chosen := map[protoreflect.Name]string{} // oneof to the key that was given
	for _, e := range d.entries(path, n) {
		if d.tooMuch {
			return
		}
		fd := desc.Fields().ByName(protoreflect.Name(e.name))
		if fd == nil {
			d.unknownKey(path, e, keys(desc), desc)
			continue
		}
		sub := join(path, e.name)
		d.mark(sub, e)
		if one := fd.ContainingOneof(); one != nil && !one.IsSynthetic() && (!isNull(e.value) || fd.Message() != nil) {
			if other, ok := chosen[one.Name()]; ok {
				d.faultAt(e.key.Line, e.key.Column, sub, "%s excludes %s: only one of %s may be given", e.name, other, list(members(one)))
				continue
			}
			chosen[one.Name()] = e.name
		}
		d.field(sub, e.value, msg, fd)
	}
}

func (d *decoder) field(path string, at *yaml.Node, msg protoreflect.Message, fd protoreflect.FieldDescriptor) {
	oneof := fd.ContainingOneof() != nil && !fd.ContainingOneof().IsSynthetic()
	switch {
	case isNull(at) && oneof && fd.Message() != nil: // ready: {notify: } says all there is to say
		msg.Set(fd, msg.NewField(fd))
	case isNull(at):
		msg.Clear(fd)
	case fd.IsMap():
		d.stringMap(path, at, msg.Mutable(fd).Map(), fd)
	case fd.IsList():
		msg.Clear(fd)
		d.list(path, at, msg, fd)
	case isDuration(fd):
		if v, ok := d.duration(path, at); ok {
			msg.Set(fd, protoreflect.ValueOfMessage(v))
		}
	case fd.Message() != nil && isWellKnown(fd.Message()):
		d.faultAt(at.Line, at.Column, path, "%s cannot be set", fd.Name())
	case fd.Message() != nil:
		d.message(path, at, msg.Mutable(fd).Message())
	default:
		if v, ok := d.scalar(path, at, fd); ok {
			msg.Set(fd, v)
		}
	}
}

func (d *decoder) stringMap(path string, at *yaml.Node, m protoreflect.Map, fd protoreflect.FieldDescriptor) {
	n := resolve(at)
	if n.Kind != yaml.MappingNode {
		d.wrongType(at, path, "a mapping of names to values")
		return
	}
	for _, e := range d.entries(path, n) {
		sub := join(path, e.name)
		d.mark(sub, e)
		if isNull(e.value) {
			d.faultAt(e.key.Line, e.key.Column, sub, "%s has no value: write \"\" for an empty one", e.name)
			continue
		}
		if v, ok := d.scalar(sub, e.value, fd.MapValue()); ok {
			m.Set(protoreflect.ValueOfString(e.name).MapKey(), v)
		}
	}
}

func (d *decoder) list(path string, at *yaml.Node, msg protoreflect.Message, fd protoreflect.FieldDescriptor) {
	n := resolve(at)
	if n.Kind == yaml.ScalarNode && fd.Name() == "command" {
		d.command(path, at, msg.Mutable(fd).List())
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.wrongType(at, path, "a list")
		return
	}
	if len(n.Content) == 0 {
		return
	}
	l := msg.Mutable(fd).List()
	for i, c := range n.Content {
		if !d.spend(c, 0) {
			return
		}
		sub := fmt.Sprintf("%s[%d]", path, i)
		d.marks[sub] = mark{c.Line, c.Column}
		if fd.Message() != nil {
			d.message(sub, c, l.AppendMutable().Message())
		} else if v, ok := d.scalar(sub, c, fd); ok {
			l.Append(v)
		}
	}
}

func (d *decoder) command(path string, at *yaml.Node, l protoreflect.List) {
	line, ok := d.text(path, at)
	if !ok {
		return
	}
	words, err := splitCommand(line)
	if err != nil {
		d.faultAt(at.Line, at.Column, path, "%s: %v", path, err)
		return
	}
	for i, w := range words {
		d.marks[fmt.Sprintf("%s[%d]", path, i)] = mark{at.Line, at.Column}
		l.Append(protoreflect.ValueOfString(w))
	}
}

// unknownKey reports a key that does not exist, with the one that was meant.
func (d *decoder) unknownKey(path string, e entry, known []string, desc protoreflect.MessageDescriptor) {
	at := join(path, e.name)
	near := Nearest(e.name, known)
	var meant string
	switch deeper := below(desc, e.name); {
	case len(deeper) > 0 && (near == "" || distance(e.name, near) > 1):
		meant = "did you mean " + choice(deeper) + "?"
	case near != "":
		at = join(path, near) // the daemon's word on what is missing there would be an echo
		meant = fmt.Sprintf("did you mean %q?", near)
	default:
		meant = "known are " + list(known)
	}
	where := ""
	if path != "" {
		where = " in " + path
	}
	d.faultAt(e.key.Line, e.key.Column, at, "unknown key %q%s: %s", e.name, where, meant)
}

// below returns the paths, one level down, at which a key of this name exists.
func below(desc protoreflect.MessageDescriptor, name string) []string {
	if desc == nil {
		return nil
	}
	var paths []string
	for i := range desc.Fields().Len() {
		fd := desc.Fields().Get(i)
		if fd.Message() == nil || fd.IsMap() || isWellKnown(fd.Message()) {
			continue
		}
		if fd.Message().Fields().ByName(protoreflect.Name(name)) != nil {
			paths = append(paths, string(fd.Name())+"."+name)
		}
	}
	return paths
}

// keys are the keys of a message, in the proto's order.
func keys(desc protoreflect.MessageDescriptor) []string {
	var names []string
	for i := range desc.Fields().Len() {
		if fd := desc.Fields().Get(i); !isName(fd) && !isOutput(fd) {
			names = append(names, string(fd.Name()))
		}
	}
	return names
}

func members(one protoreflect.OneofDescriptor) []string {
	var names []string
	for i := range one.Fields().Len() {
		names = append(names, string(one.Fields().Get(i).Name()))
	}
	return names
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func list(words []string) string {
	if len(words) == 0 {
		return "no keys"
	}
	return strings.Join(words, ", ")
}

func choice(words []string) string {
	words = slices.Clone(words)
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return words[0]
}
