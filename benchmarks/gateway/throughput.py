"""Spans per second that the gateway accepts, and its memory, while PandaProbe is down.

    python benchmarks/gateway/throughput.py [--seconds 20] [--no-spool] [--grpc]

PandaProbe refuses every connection. One sender (a separate process, bodies encoded beforehand, 10 traces of 20 spans
each) sends as fast as the gateway answers. Prints the accepted spans per second, the gateway's CPU per span, its peak
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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

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


def send_http(address: str, batch: list[bytes], until: float, counts: dict[str, int]) -> None:
    """Send over one connection, one request after the other."""
    link = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    for body in batch * 1000:
        if time.monotonic() >= until:
            return
        link.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
        answer = link.getresponse()
        answer.read()
        counts["accepted" if answer.status == 200 else "refused"] += 1
        if answer.status != 200:
            time.sleep(0.2)


def send_grpc(address: str, batch: list[bytes], until: float, counts: dict[str, int]) -> None:
    """Send over one channel, one call after the other."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(EXPORT)
        for body in batch * 1000:
            if time.monotonic() >= until:
                return
            try:
                export(body, timeout=60)
                counts["accepted"] += 1
            except grpc.RpcError:
                counts["refused"] += 1
                time.sleep(0.2)


def peak_mb(process: int) -> float:
    """Return the peak memory of the process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def cpu_s(process: int) -> float:
    """Return the CPU time of the process, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--no-spool", action="store_true")
    parser.add_argument("--grpc", action="store_true")
    options = parser.parse_args()
    batch = bodies(200)
    counts = {"accepted": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as scratch:
        more = {} if options.no_spool else {"PANDAPROBE_SPOOL_DIR": scratch}
        command = [sys.executable, "-m", "pandaprobe_otel.cli", "gateway", "--http-port", "0", "--grpc-port", "0"]
        env = environment("http://127.0.0.1:1", PANDAPROBE_SHUTDOWN_TIMEOUT="1", **more)
        gateway = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert gateway.stdout is not None
        lines = [gateway.stdout.readline() for _ in range(3)]
        address = lines[2].split()[-1] if options.grpc else lines[1].split()[-1]
        send: Any = send_grpc if options.grpc else send_http
        begun, cpu = time.monotonic(), cpu_s(gateway.pid)
        until = begun + options.seconds
        threads = [threading.Thread(target=send, args=(address, batch[n::2], until, counts)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took, cpu = time.monotonic() - begun, cpu_s(gateway.pid) - cpu
        peak = peak_mb(gateway.pid)
        gateway.terminate()
        gateway.communicate(timeout=60)
    spans = counts["accepted"] * SPANS * TRACES
    kind = f"{'gRPC' if options.grpc else 'HTTP'}, {'memory' if options.no_spool else 'spool'}"
    print(f"{kind}: {spans / took:.0f} spans a second, {cpu / max(spans, 1) * 1e6:.0f} us of CPU a span")
    print(f"requests accepted {counts['accepted']}, asked to wait {counts['refused']}; peak memory {peak:.0f} MB")
    print(f"sender: {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.1f} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
