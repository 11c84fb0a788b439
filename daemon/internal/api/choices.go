package api

import (
	"fmt"

	"github.com/roostd/roost/daemon/internal/app"
	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// The choices of a spec. Unset ones are not listed: they are "" in app.
var (
	listenModes = map[roostv1.ListenMode]app.ListenMode{
		roostv1.ListenMode_LISTEN_MODE_PORT: app.ListenPort,
		roostv1.ListenMode_LISTEN_MODE_FD:   app.ListenFD,
		roostv1.ListenMode_LISTEN_MODE_UNIX: app.ListenUnix,
		roostv1.ListenMode_LISTEN_MODE_NONE: app.ListenNone,
	}
	startWhens = map[roostv1.StartWhen]app.StartWhen{
		roostv1.StartWhen_START_WHEN_REQUEST: app.StartOnRequest,
		roostv1.StartWhen_START_WHEN_BOOT:    app.StartOnBoot,
		roostv1.StartWhen_START_WHEN_MANUAL:  app.StartManual,
	}
	restartWhens = map[roostv1.RestartWhen]app.RestartWhen{
		roostv1.RestartWhen_RESTART_WHEN_ALWAYS:     app.RestartAlways,
		roostv1.RestartWhen_RESTART_WHEN_ON_FAILURE: app.RestartOnFailure,
		roostv1.RestartWhen_RESTART_WHEN_ON_REQUEST: app.RestartOnRequest,
		roostv1.RestartWhen_RESTART_WHEN_NEVER:      app.RestartNever,
	}
	whenFulls = map[roostv1.WhenFull]app.WhenFull{
		roostv1.WhenFull_WHEN_FULL_DROP_OLDEST: app.FullDropOldest,
		roostv1.WhenFull_WHEN_FULL_BLOCK:       app.FullBlock,
	}
	onRapidFails = map[roostv1.OnRapidFail]app.OnRapidFail{
		roostv1.OnRapidFail_ON_RAPID_FAIL_WAIT: app.RapidFailWait,
		roostv1.OnRapidFail_ON_RAPID_FAIL_STOP: app.RapidFailStop,
	}
	presets = map[roostv1.Preset]app.Preset{
		roostv1.Preset_PRESET_ASPNETCORE: app.PresetASPNETCore,
	}
	httpsPolicies = map[roostv1.HttpsPolicy]app.HTTPSPolicy{
		roostv1.HttpsPolicy_HTTPS_POLICY_REDIRECT: app.HTTPSRedirect,
		roostv1.HttpsPolicy_HTTPS_POLICY_ONLY:     app.HTTPSOnly,
	}
	webSocketDrains = map[roostv1.WebSocketDrain]app.WebSocketDrain{
		roostv1.WebSocketDrain_WEB_SOCKET_DRAIN_DRAIN: app.WebSocketsDrain,
		roostv1.WebSocketDrain_WEB_SOCKET_DRAIN_CLOSE: app.WebSocketsClose,
	}
)

// What the daemon only sends.
var (
	states = map[app.State]roostv1.AppState{
		app.StateIdle:     roostv1.AppState_APP_STATE_IDLE,
		app.StateStarting: roostv1.AppState_APP_STATE_STARTING,
		app.StateRunning:  roostv1.AppState_APP_STATE_RUNNING,
		app.StateDegraded: roostv1.AppState_APP_STATE_DEGRADED,
		app.StateStopped:  roostv1.AppState_APP_STATE_STOPPED,
		app.StateBlocked:  roostv1.AppState_APP_STATE_BLOCKED,
		app.StateFailed:   roostv1.AppState_APP_STATE_FAILED,
		app.StateOffline:  roostv1.AppState_APP_STATE_OFFLINE,
	}
	rolloutPhases = map[app.RolloutPhase]roostv1.RolloutPhase{
		app.RolloutPending:     roostv1.RolloutPhase_ROLLOUT_PHASE_PENDING,
		app.RolloutProgressing: roostv1.RolloutPhase_ROLLOUT_PHASE_PROGRESSING,
		app.RolloutComplete:    roostv1.RolloutPhase_ROLLOUT_PHASE_COMPLETE,
		app.RolloutFailed:      roostv1.RolloutPhase_ROLLOUT_PHASE_FAILED,
		app.RolloutSuperseded:  roostv1.RolloutPhase_ROLLOUT_PHASE_SUPERSEDED,
	}
	instancePhases = map[app.Phase]roostv1.InstancePhase{
		app.PhaseStarting: roostv1.InstancePhase_INSTANCE_PHASE_STARTING,
		app.PhaseReady:    roostv1.InstancePhase_INSTANCE_PHASE_READY,
		app.PhaseUnready:  roostv1.InstancePhase_INSTANCE_PHASE_UNREADY,
		app.PhaseDraining: roostv1.InstancePhase_INSTANCE_PHASE_DRAINING,
		app.PhaseStopping: roostv1.InstancePhase_INSTANCE_PHASE_STOPPING,
		app.PhaseExited:   roostv1.InstancePhase_INSTANCE_PHASE_EXITED,
	}
	severities = map[app.Severity]roostv1.EventSeverity{
		app.Info:    roostv1.EventSeverity_EVENT_SEVERITY_INFO,
		app.Warning: roostv1.EventSeverity_EVENT_SEVERITY_WARNING,
		app.Error:   roostv1.EventSeverity_EVENT_SEVERITY_ERROR,
	}
	applyActions = map[string]roostv1.ApplyAction{
		"created":   roostv1.ApplyAction_APPLY_ACTION_CREATED,
		"unchanged": roostv1.ApplyAction_APPLY_ACTION_UNCHANGED,
		"updated":   roostv1.ApplyAction_APPLY_ACTION_UPDATED,
		"deleted":   roostv1.ApplyAction_APPLY_ACTION_DELETED,
	}
	failureKinds = map[roostv1.FailureKind]string{
		roostv1.FailureKind_FAILURE_KIND_REFUSED:         "refused",
		roostv1.FailureKind_FAILURE_KIND_RESET:           "reset",
		roostv1.FailureKind_FAILURE_KIND_CONNECT_TIMEOUT: "connect-timeout",
		roostv1.FailureKind_FAILURE_KIND_PROTOCOL:        "protocol",
	}
)

// choose translates a choice; one that a newer client knows is a fault.
func choose[P interface {
	comparable
	fmt.Stringer
}, A ~string](f *faults, field string, choices map[P]A, p P) A {
	var unset P
	a, ok := choices[p]
	if !ok && p != unset {
		f.add(field, "%v is not known to this daemon", p)
	}
	return a
}

// choiceTo is the way back of a choice; "" is unset.
func choiceTo[P comparable, A comparable](choices map[P]A, a A) P {
	for p, candidate := range choices {
		if candidate == a {
			return p
		}
	}
	var unset P
	return unset
}
