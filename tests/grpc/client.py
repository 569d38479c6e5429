"""A gRPC client that calls all the time. For each line on stdin it says what happened since the last, as JSON:
how often who answered, and every failure. The line, where it is not empty, is a header for the calls from now on."""

import collections
import json
import sys
import threading
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1])
call = channel.unary_unary("/test.Names/Get", request_serializer=None, response_deserializer=None)
answers, failures, metadata = collections.Counter(), [], []
lock = threading.Lock()


def work():
    while True:
        try:
            answer = call(b"", timeout=5, metadata=metadata).decode()
            with lock:
                answers[answer] += 1
        except grpc.RpcError as error:
            with lock:
                failures.append(f"{error.code().name}: {error.details()}")
        time.sleep(0.002)


threading.Thread(target=work, daemon=True).start()
for line in sys.stdin:
    header = line.strip()
    metadata = [tuple(header.split("=", 1))] if header else []
    with lock:
        print(json.dumps({"answers": answers, "failures": failures}), flush=True)
        answers.clear()
        failures.clear()
