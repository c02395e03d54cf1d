"""stock_health.py ADDRESS check|watch SERVICE... - grpcio-health-checking's own client. check prints a line a service; watch prints a
line for each status of one service as it comes, then the status that ended the watch."""
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

address, what, *services = sys.argv[1:]
health = health_pb2_grpc.HealthStub(grpc.insecure_channel(address))


def name(response):
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)


for service in services:
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        if what == "check":
            print(name(health.Check(request, timeout=20)))
        else:
            for response in health.Watch(request):
                print(name(response), flush=True)
    except grpc.RpcError as error:
        print(error.code().name, error.details())
