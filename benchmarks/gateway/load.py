"""Check that the gateway keeps acknowledged spans, next to slow and malformed senders.

    python benchmarks/gateway/load.py [--minutes 10] [--rate 5000] [--slow 64] [--malformed 64] [--spool-mb 512]

Four senders, two over HTTP and two over gRPC, send traces of 10,000 spans in twenty requests each, on schedule. Thirty
such traces a minute are less than half of the number that the gateway may post. The malformed senders use the rest and
more, since many of their requests are readable. Behind the gateway is a server that accepts everything.

Prints the spans that were acknowledged, delivered, waiting on disk at the gateway's end, and lost; the latency of
answers from the scheduled time of the request; and the memory of the gateway. Exit code 1 if an acknowledged span was
lost, or if the rate was not reached. (With a small spool, spans of the malformed senders fill it, and all senders have
to wait.)
"""

from __future__ import annotations

import argparse
import http.client
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "delivery"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from runs import sink

from otlp_senders import agent_trace, body_of
from subprocesses import environment

REQUEST_SPANS, REQUESTS = 500, 20
"""Requests per trace. The last one has the root."""
MARK = "span-of-load"
NAME = "load"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
DELIVERED_WITHIN_S = 120.0


class Traces:
    """Bodies of traces, one request after the other."""

    def __init__(self) -> None:
        model = ExportTraceServiceRequest.FromString(body_of(agent_trace(2, text=MARK + "x" * 500)))
        chat, root = model.resource_spans[0].scope_spans[0].spans
        chat.name = root.name = NAME  # Names alternate, and the malformed requests have another name.
        self._rng = random.Random(1)
        self._shapes: list[ExportTraceServiceRequest] = []
        for number in range(REQUESTS):
            shape = ExportTraceServiceRequest.FromString(model.SerializeToString())
            spans = shape.resource_spans[0].scope_spans[0].spans
            del spans[:]
            for _ in range(REQUEST_SPANS):
                spans.append(chat)
                spans[-1].span_id = self._rng.randbytes(8)
            if number == REQUESTS - 1:
                spans.append(root)
            self._shapes.append(shape)
        self._lock = threading.Lock()
        self._numbers = count()
        self._trace_id = b""

    def next(self) -> tuple[int, bytes]:
        """Return the number of the next request, and its body."""
        with self._lock:
            number = next(self._numbers)
            if number % REQUESTS == 0:
                self._trace_id = self._rng.randbytes(16)
            shape = self._shapes[number % REQUESTS]
            for span in shape.resource_spans[0].scope_spans[0].spans:
                span.trace_id = self._trace_id
            return number, shape.SerializeToString()


@dataclass
class Seen:
    """The counts and latencies that the senders have observed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    acknowledged: int = 0
    refused: int = 0
    took_s: list[float] = field(default_factory=list)


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


def healthy(
    send: Callable[[bytes], bool], traces: Traces, begun: float, every_s: float, until: float, seen: Seen
) -> None:
    """Send on schedule until the end. Refused requests are sent again, as exporters do."""
    while time.monotonic() < until:
        number, body = traces.next()
        due = begun + number * every_s
        time.sleep(max(due - time.monotonic(), 0.0))
        while not send(body):
            with seen.lock:
                seen.refused += 1
            time.sleep(0.5)
        with seen.lock:
            seen.acknowledged += REQUEST_SPANS
            seen.took_s.append(time.monotonic() - due)


def memory_mb(process: int, name: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def delivered(sink_url: str, expected: int) -> int:
    """Return the delivered spans of the healthy senders, once all have arrived or after two minutes."""
    until = time.monotonic() + DELIVERED_WITHIN_S
    while True:
        arrived = int(httpx.get(f"{sink_url}/_stats", timeout=60).json()["spans"])
        if arrived >= expected or time.monotonic() >= until:
            return arrived
        time.sleep(0.5)


def waiting(spool: Path) -> int:
    """Return the spans of the healthy senders that a gateway has left in its spool."""
    found = 0
    for path in spool.glob("**/*.sqlite"):
        with closing(sqlite3.connect(path)) as db:
            found += sum(bytes(spans).count(MARK.encode()) for (spans,) in db.execute("SELECT spans FROM body"))
    return found


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


def run(options: argparse.Namespace, spool: str) -> int:
    settings = {"PANDAPROBE_SPOOL_DIR": spool, "PANDAPROBE_MAX_SPOOL_BYTES": str(options.spool_mb << 20)}
    with sink(MARK) as sink_url:
        with gateway(sink_url, **settings) as (process, http_port, grpc_port):
            ports = [str(number) for number in (http_port, grpc_port, options.slow, options.malformed)]
            # It is ended during its calls, which it would report on standard error.
            command = [sys.executable, str(Path(__file__).with_name("hostile.py")), *ports]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as hostile:
                traces, seen = Traces(), Seen()
                time.sleep(3)  # until the other senders have started
                start_mb = memory_mb(process.pid, "VmRSS")
                begun = time.monotonic()
                until = begun + options.minutes * 60
                every_s = REQUEST_SPANS / options.rate
                with ThreadPoolExecutor(4) as pool:
                    for send in (
                        over_http(http_port),
                        over_grpc(grpc_port),
                        over_http(http_port),
                        over_grpc(grpc_port),
                    ):
                        pool.submit(healthy, send, traces, begun, every_s, until, seen)
                assert hostile.poll() is None, "the slow and malformed senders have ended"
                rate = seen.acknowledged / (time.monotonic() - begun)
                delivered(sink_url, seen.acknowledged)
                end_mb, most_mb = memory_mb(process.pid, "VmRSS"), memory_mb(process.pid, "VmHWM")
                hostile.terminate()
        arrived = delivered(sink_url, 0)
    kept = waiting(Path(spool))
    lost = seen.acknowledged - arrived - kept
    cuts = statistics.quantiles(seen.took_s, n=100)
    print(
        f"acknowledged {seen.acknowledged} spans ({rate:.0f} a second), "
        f"delivered {arrived}, waiting on disk {kept}, lost {lost}"
    )
    print(f"asked to wait {seen.refused} times; answers: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms")
    print(f"memory: {start_mb:.0f} MB at the start, {end_mb:.0f} at the end, {most_mb:.0f} at the most")
    return int(lost != 0 or rate < 0.95 * options.rate)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--slow", type=int, default=64)
    parser.add_argument("--malformed", type=int, default=64)
    parser.add_argument("--spool-mb", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as spool:
        return run(options, spool)


if __name__ == "__main__":
    sys.exit(main())
