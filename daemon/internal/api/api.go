// Package api serves roost.v1: one file a service, which translates, delegates
// and lets the interceptors map errors. It decides nothing itself.
package api

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	roostv1 "github.com/roostd/roost/gen/roost/v1"
)

// Services are all that is served.
type Services struct {
	Apps      *AppService
	Instances *InstanceService
	Logs      *LogService
	Events    *EventService
	Routing   *RoutingService
	System    *SystemService
	Health    *health.Server
}

// Register registers every service, reflection included.
func (s Services) Register(r reflection.GRPCServer) {
	roostv1.RegisterAppServiceServer(r, s.Apps)
	roostv1.RegisterInstanceServiceServer(r, s.Instances)
	roostv1.RegisterLogServiceServer(r, s.Logs)
	roostv1.RegisterEventServiceServer(r, s.Events)
	roostv1.RegisterRoutingServiceServer(r, s.Routing)
	roostv1.RegisterSystemServiceServer(r, s.System)
	healthv1.RegisterHealthServer(r, s.Health)
	reflection.Register(r)
}

// SetHealth sets what h answers for the whole daemon, and for each service by its name.
func SetHealth(h *health.Server, to healthv1.HealthCheckResponse_ServingStatus) {
	h.SetServingStatus("", to)
	for _, service := range []*grpc.ServiceDesc{
		&roostv1.AppService_ServiceDesc, &roostv1.InstanceService_ServiceDesc, &roostv1.LogService_ServiceDesc,
		&roostv1.EventService_ServiceDesc, &roostv1.RoutingService_ServiceDesc, &roostv1.SystemService_ServiceDesc,
	} {
		h.SetServingStatus(service.ServiceName, to)
	}
}
