package auth

import (
	"maps"
	"slices"
)

// Role is what a caller may do.
type Role string

// The roles. Admin includes operator, and operator viewer; proxy stands beside
// them.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Admin    Role = "admin"
	Proxy    Role = "proxy"
)

// methods names the role that each method asks for. A method that is not here is
// for nobody.
var methods = map[string]Role{
	"/roost.v1.AppService/ApplyApps":       Admin,
	"/roost.v1.AppService/DeleteApp":       Admin,
	"/roost.v1.AppService/RollbackApp":     Admin,
	"/roost.v1.AppService/StartApp":        Operator,
	"/roost.v1.AppService/StopApp":         Operator,
	"/roost.v1.AppService/RecycleApp":      Operator,
	"/roost.v1.AppService/ScaleApp":        Operator,
	"/roost.v1.AppService/SetAppOffline":   Operator,
	"/roost.v1.AppService/GetApp":          Viewer,
	"/roost.v1.AppService/ListApps":        Viewer,
	"/roost.v1.AppService/WatchApps":       Viewer,
	"/roost.v1.AppService/ListGenerations": Viewer,
	"/roost.v1.AppService/WatchRollout":    Viewer,

	"/roost.v1.InstanceService/GetInstance":    Viewer,
	"/roost.v1.InstanceService/ListInstances":  Viewer,
	"/roost.v1.InstanceService/WatchInstances": Viewer,
	"/roost.v1.InstanceService/SignalInstance": Admin, // any signal: more than start, stop and recycle

	"/roost.v1.LogService/ReadLogs":     Operator, // what apps print may be anything
	"/roost.v1.EventService/ReadEvents": Viewer,

	"/roost.v1.RoutingService/Watch":    Proxy, // it hands out the pairing tokens
	"/roost.v1.RoutingService/Activate": Proxy,
	"/roost.v1.RoutingService/Report":   Proxy,

	"/roost.v1.SystemService/GetInfo":  Viewer,
	"/roost.v1.SystemService/Shutdown": Admin,

	"/grpc.health.v1.Health/Check":                                   Viewer,
	"/grpc.health.v1.Health/List":                                    Viewer,
	"/grpc.health.v1.Health/Watch":                                   Viewer,
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      Viewer,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Viewer,
}

// RoleOf returns the role that a method asks for, false where it has no row.
func RoleOf(method string) (Role, bool) {
	role, ok := methods[method]
	return role, ok
}

// Methods lists every method that has a row.
func Methods() []string {
	return slices.Sorted(maps.Keys(methods))
}
