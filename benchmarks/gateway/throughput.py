"""Spans per second that the gateway accepts, and its memory, while PandaProbe is down.

    python benchmarks/gateway/throughput.py [--seconds 20] [--grpc]

PandaProbe refuses every connection. One sender (two threads, bodies encoded beforehand, 10 traces of 20 spans each)
sends as fast as the gateway answers. Prints the accepted spans per second, the gateway's CPU per span, its peak
memory, and the number of requests that had to wait. Goal: 5,000 spans per second on two cores.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp_senders import agent_trace, body_of
from subprocesses import environment

SPANS = 20
TRACES = 10
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def bodies(count: int) -> list[bytes]:
    """Return different traces of one shape, about 1 KB per span."""
    model = ExportTraceServiceRequest.FromString(body_of(agent_trace(SPANS, text="x" * 500)))
    rng = random.Random(1)
    made: list[bytes] = []
    for _ in range(count):
        request = ExportTraceServiceRequest()
        for _ in range(TRACES):
            request.resource_spans.extend(model.resource_spans)
            trace_id = rng.randbytes(16)
            for scope in request.resource_spans[-1].scope_spans:
                for span in scope.spans:
                    span.trace_id = trace_id
        made.append(request.SerializeToString())
    return made


def over_http(port: int) -> Callable[[bytes], bool]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(body: bytes) -> bool:
        link.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        answer = link.getresponse()
        answer.read()
        return answer.status == 200

    return send


def over_grpc(port: int) -> Callable[[bytes], bool]:
    export = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary(EXPORT)

    def send(body: bytes) -> bool:
        try:
            export(body, timeout=60)
        except grpc.RpcError:
            return False
        return True

    return send


@contextmanager
def gateway(endpoint: str, **settings: str) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Run a gateway, and yield its process and its ports for HTTP and gRPC."""
    command = [sys.executable, "-m", "pandaprobe_otel.cli", "gateway", "--http-port", "0", "--grpc-port", "0"]
    env = environment(endpoint, **settings)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        try:
            yield process, int(lines[1].split(":")[-1].partition("/")[0]), int(lines[2].split(":")[-1])
        finally:
            process.terminate()


def send_all(send: Callable[[bytes], bool], batch: list[bytes], until: float, counts: Counter[bool]) -> None:
    """Send over one connection, one request after the other."""
    for body in batch * 1000:
        if time.monotonic() >= until:
            return
        is_accepted = send(body)
        counts[is_accepted] += 1
        if not is_accepted:
            time.sleep(0.2)


def cpu_s(process: int) -> float:
    """Return the CPU time of the process, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--grpc", action="store_true")
    options = parser.parse_args()
    batch, counts = bodies(200), Counter[bool]()
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"PANDAPROBE_SHUTDOWN_TIMEOUT": "1", "PANDAPROBE_SPOOL_DIR": scratch}
        with gateway("http://127.0.0.1:1", **settings) as (process, http_port, grpc_port):
            begun, cpu = time.monotonic(), cpu_s(process.pid)
            until = begun + options.seconds
            sends = [over_grpc(grpc_port) if options.grpc else over_http(http_port) for _ in range(2)]
            threads = [
                threading.Thread(target=send_all, args=(send, batch[number::2], until, counts))
                for number, send in enumerate(sends)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            took, cpu = time.monotonic() - begun, cpu_s(process.pid) - cpu
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    spans = counts[True] * SPANS * TRACES
    kind = "gRPC" if options.grpc else "HTTP"
    print(f"{kind}: {spans / took:.0f} spans a second, {cpu / max(spans, 1) * 1e6:.0f} us of CPU a span")
    print(f"requests accepted {counts[True]}, asked to wait {counts[False]}; peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
