package app

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// field is a part of a spec that can change by itself.
type field struct {
	path     string
	replaces bool // a change needs new instances
	get      func(Spec) any
}

// fields lists every part of a spec, by its path in the manifest. Env is
// reported per key instead.
var fields = []field{
	{"command", true, func(s Spec) any { return s.Command }},
	{"dir", true, func(s Spec) any { return s.Dir }},
	{"release", true, func(s Spec) any { return s.Release }},
	{"env_files", true, func(s Spec) any { return s.EnvFiles }},
	{"user", true, func(s Spec) any { return s.User }},
	{"group", true, func(s Spec) any { return s.Group }},
	{"umask", true, func(s Spec) any { return s.Umask }},
	{"preset", true, func(s Spec) any { return s.Preset }},
	{"labels", false, func(s Spec) any { return s.Labels }},
	{"instances", false, func(s Spec) any { return s.Instances }},
	{"routes", false, func(s Spec) any { return s.Routes }},
	{"listen.mode", true, func(s Spec) any { return s.Listen.Mode }},
	{"listen.port", true, func(s Spec) any { return s.Listen.Port }},
	{"start.when", false, func(s Spec) any { return s.Start.When }},
	{"start.timeout", false, func(s Spec) any { return s.Start.Timeout }},
	{"start.warmup", false, func(s Spec) any { return s.Start.Warmup }},
	{"ready", false, func(s Spec) any { return s.Ready }},
	{"health", false, func(s Spec) any { return s.Health }},
	{"stop.signal", false, func(s Spec) any { return s.Stop.Signal }},
	{"stop.timeout", false, func(s Spec) any { return s.Stop.Timeout }},
	{"stop.drain", false, func(s Spec) any { return s.Stop.Drain }},
	{"restart.when", false, func(s Spec) any { return s.Restart.When }},
	{"restart.rapid_fails_per_minute", false, func(s Spec) any { return s.Restart.RapidFailsPerMinute }},
	{"restart.backoff", false, func(s Spec) any { return s.Restart.Backoff }},
	{"restart.max_backoff", false, func(s Spec) any { return s.Restart.MaxBackoff }},
	{"restart.on_rapid_fail", false, func(s Spec) any { return s.Restart.OnRapidFail }},
	{"recycle.overlap", false, func(s Spec) any { return s.Recycle.Overlap }},
	{"recycle.min_ready", false, func(s Spec) any { return s.Recycle.MinReady }},
	{"recycle.max_age", false, func(s Spec) any { return s.Recycle.MaxAge }},
	{"recycle.at", false, func(s Spec) any { return s.Recycle.At }},
	{"recycle.max_requests", false, func(s Spec) any { return s.Recycle.MaxRequests }},
	{"recycle.max_memory", false, func(s Spec) any { return s.Recycle.MaxMemory }},
	{"recycle.watch", false, func(s Spec) any { return s.Recycle.Watch }},
	{"recycle.settle", false, func(s Spec) any { return s.Recycle.Settle }},
	{"idle.after", false, func(s Spec) any { return s.Idle.After }},
	{"requests.timeout", false, func(s Spec) any { return s.Requests.Timeout }},
	{"requests.queue", false, func(s Spec) any { return s.Requests.Queue }},
	{"requests.queue_timeout", false, func(s Spec) any { return s.Requests.QueueTimeout }},
	{"requests.max_body", false, func(s Spec) any { return s.Requests.MaxBody }},
	{"requests.websockets", false, func(s Spec) any { return s.Requests.WebSockets }},
	{"logs.max_size", false, func(s Spec) any { return s.Logs.MaxSize }},
	{"logs.max_files", false, func(s Spec) any { return s.Logs.MaxFiles }},
	{"logs.when_full", false, func(s Spec) any { return s.Logs.WhenFull }},
	{"logs.stdout_file", false, func(s Spec) any { return s.Logs.StdoutFile }},
	{"error_page.disable_startup", false, func(s Spec) any { return s.ErrorPage.DisableStartup }},
	{"limits.nofile", true, func(s Spec) any { return s.Limits.NoFile }},
	{"limits.memory", true, func(s Spec) any { return s.Limits.Memory }},
	{"limits.cpu", true, func(s Spec) any { return s.Limits.CPUMillis }},
	{"limits.pids", true, func(s Spec) any { return s.Limits.Pids }},
}

// ChangedPaths returns the paths, as in the manifest, in which two defaulted
// specs differ.
func ChangedPaths(old, new Spec) []string {
	var paths []string
	for _, f := range fields {
		if !same(f.get(old), f.get(new)) {
			paths = append(paths, f.path)
		}
	}
	return append(paths, changedEnv(old.Env, new.Env)...)
}

func changedEnv(old, new map[string]string) []string {
	keys := map[string]struct{}{}
	for k, v := range new {
		if o, ok := old[k]; !ok || o != v {
			keys[k] = struct{}{}
		}
	}
	for k := range old {
		if _, ok := new[k]; !ok {
			keys[k] = struct{}{}
		}
	}
	paths := slices.Sorted(maps.Keys(keys))
	for i, k := range paths {
		paths[i] = "env." + k
	}
	return paths
}

// Replaces tells whether moving from one defaulted spec to another needs new
// instances; every other change acts on the live ones.
func Replaces(old, new Spec) bool {
	for _, f := range fields {
		if f.replaces && !same(f.get(old), f.get(new)) {
			return true
		}
	}
	return len(changedEnv(old.Env, new.Env)) > 0 || old.PathBase() != new.PathBase()
}

// same compares two values of a field; nil and empty are the same.
func same(a, b any) bool {
	return reflect.DeepEqual(a, b) || empty(a) && empty(b)
}

func empty(v any) bool {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Slice, reflect.Map:
		return r.Len() == 0
	}
	return false
}

// Etag identifies a generation's spec for optimistic concurrency.
func Etag(generation int64, s Spec) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a Spec holds nothing that JSON cannot say
	}
	sum := sha256.Sum256(append(strconv.AppendInt(nil, generation, 10), b...))
	return hex.EncodeToString(sum[:8])
}
