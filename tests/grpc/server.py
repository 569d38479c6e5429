"""A gRPC server that asks the control plane for its listener, and answers every call with its own name."""

import sys
from concurrent import futures

import grpc

name, address = sys.argv[1:]


class Names(grpc.GenericRpcHandler):
    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(lambda request, _: name.encode())


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), xds=True)
server.add_generic_rpc_handlers((Names(),))
server.add_insecure_port(address)
server.start()
print("started", flush=True)
server.wait_for_termination()
