"""Ten times the limit for simulated minutes, over both protocols: senders wait, or traces are chosen and counted."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Any

import grpc
import httpx
import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.budget import Lease, LeasedBucket
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from pandaprobe_otel.transport.request_outcome import Answer, Request

LIMIT, STEP_S, STEPS = 20, 6.0, 80
A_STEP = round(10 * LIMIT * STEP_S / 60)
"""Traces in each step, ten times the limit."""
QUICK_END = {"shutdown_timeout_s": 0.2}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Clock:
    """A clock that the test moves."""

    now = 1000.0
    _goes_since: float | None = None

    def __call__(self) -> float:
        return self.now if self._goes_since is None else self.now + time.monotonic() - self._goes_since

    def go(self) -> None:
        """Run with real time from now on, since the gateway waits when it stops."""
        self._goes_since = time.monotonic()


class Server:
    """A server that accepts 20 traces in any 60 s, and keeps them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.accepted: list[tuple[float, dict[str, Any]]] = []
        self.refused = 0

    def send(self, request: Request) -> Answer:
        """Return 202, or 429 beyond the limit."""
        if request.path != "/traces":
            return Answer(status=202)
        with self._lock:
            if sum(at > self._clock.now - 60 for at, _ in self.accepted) >= LIMIT:
                self.refused += 1
                return Answer(status=429, body=b'{"error":"Rate limit exceeded"}')
            self.accepted.append((self._clock.now, orjson.loads(request.body or b"")))
            return Answer(status=202)

    def close(self) -> None:
        """Do nothing, since there is no connection."""

    def reset_after_fork(self) -> None:
        """Do nothing, since there is no connection."""


class PolledBucket(LeasedBucket):
    """A bucket whose users read the clock again after 10 ms; `empty` is set when a user found no token."""

    def __init__(self, empty: threading.Event) -> None:
        super().__init__(capacity=LIMIT)
        self._empty = empty

    def acquire(self, now: float, *, leave: int = 0) -> Lease | None:
        lease = super().acquire(now, leave=leave)
        if lease is None:
            self._empty.set()
        return lease

    def next_free(self, now: float, *, leave: int = 0) -> float:
        return min(super().next_free(now, leave=leave), now + 0.01)


class ClockedGateway(Gateway):
    """A gateway with the simulated server, and with a clock that the test sets."""

    def __init__(self, clock: Clock, server: Server, empty: threading.Event, *, sample_overload: bool) -> None:
        super().__init__(sample_overload=sample_overload)
        self._keeps_all = not sample_overload
        self._seams: dict[str, Any] = {
            "transport": server,
            "monotonic": clock,
            "bucket": lambda: PolledBucket(empty),
        }

    def _open_pipeline(self) -> ExportPipeline:
        config = Config.resolve({"api_key": "sk_pp_x", "project_name": "p", "max_queue_bytes": 1 << 20, **QUICK_END})
        return ExportPipeline(config, counts_starts=False, is_gateway=True, keeps_all=self._keeps_all, **self._seams)


def request_of(step: int) -> bytes:
    """Return traces of one span: nine of ten from the busy app, and the tenth with an error in every second step."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(A_STEP):
        is_rare = number % 10 == 9
        span = spans.add(name="rare" if is_rare else "busy", start_time_unix_nano=1, end_time_unix_nano=2)
        # Pseudo-random digits, since the choice of traces depends on them.
        span.trace_id = trace_of(step * A_STEP + number)
        span.span_id = span.trace_id[8:]
        span.status.code = Status.STATUS_CODE_ERROR if is_rare and step % 2 else Status.STATUS_CODE_UNSET
        for name, value in (("gen_ai.operation.name", "chat"), ("gen_ai.input.messages", "x" * 1000)):
            span.attributes.add(key=name).value.string_value = value
    return request.SerializeToString()


def trace_of(number: int) -> bytes:
    """Return the id of a trace."""
    return sha256(str(number).encode()).digest()[:16]


class Senders:
    """Senders that use both protocols in turn, and their gateway."""

    def __init__(self, gateway: Gateway, clock: Clock, empty: threading.Event, ways: tuple[Any, Any]) -> None:
        assert gateway.pipeline is not None
        self.gateway, self.pipeline = gateway, gateway.pipeline
        self._clock, self._empty, self._ways = clock, empty, ways

    def send(self, step: int) -> bool:
        """Send the traces of a step, and return whether the gateway accepted them."""
        self._clock.now += STEP_S
        taken: bool = self._ways[step % 2](request_of(step))
        self.deliver(60.0 if step > 2 else 0.2)
        return taken

    def wait(self, seconds: float) -> None:
        """Let simulated time pass without sending."""
        self._clock.now += seconds
        self.deliver(0.2)

    def deliver(self, at_most_s: float) -> None:
        """Let the gateway send as many traces as the limit allows."""
        self.pipeline.flush(0.0)  # hands complete traces over to the sender threads
        self._empty.clear()
        self._empty.wait(at_most_s)


@pytest.fixture
def senders(clock: Clock, server: Server, request: pytest.FixtureRequest) -> Iterator[Senders]:
    """Yield the senders of a gateway, which drops traces by choice if the parameter is True."""
    empty = threading.Event()
    with (
        ClockedGateway(clock, server, empty, sample_overload=request.param) as gateway,
        httpx.Client(timeout=60) as http,
        grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel,
    ):
        ways = partial(over_grpc, channel.unary_unary(EXPORT)), partial(over_http, http, gateway.url)
        yield Senders(gateway, clock, empty, ways)
        clock.go()


def over_http(client: httpx.Client, url: str, body: bytes) -> bool:
    """Return whether the request was accepted, and check that a refusal has Retry-After."""
    answer = client.post(f"{url}/v1/traces", content=body, headers={"Content-Type": "application/x-protobuf"})
    assert answer.status_code in (200, 503), answer.text
    assert answer.status_code == 200 or answer.headers["Retry-After"]
    return answer.status_code == 200


def over_grpc(export: Any, body: bytes) -> bool:
    """Return whether the call was accepted, and check that a refusal has retry details."""
    try:
        export(body, timeout=60)
    except grpc.RpcError as error:
        refusal: Any = error
        assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "grpc-status-details-bin" in dict(refusal.trailing_metadata())
        return False
    return True


@pytest.fixture
def clock() -> Clock:
    """Return the clock that all parts of a test use."""
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Server:
    """Return the server that the gateway sends to."""
    return Server(clock)


@pytest.mark.parametrize("senders", [False], indirect=True)
def test_under_an_overload_that_lasts_senders_wait(senders: Senders, server: Server) -> None:
    """Every acknowledged trace is delivered, and without room senders get Retry-After until there is room."""
    taken = [step for step in range(STEPS // 2) if senders.send(step)]
    counts = senders.gateway.counts()
    while senders.gateway.counts()["spans_pending"]:
        senders.wait(60.0)

    assert len(taken) < STEPS // 3
    assert not counts["spans_dropped"]
    assert counts["spans_accepted"] == len(taken) * A_STEP == counts["spans_delivered"] + counts["spans_pending"]
    assert server.refused == 0
    acknowledged = {trace_of(step * A_STEP + number) for step in taken for number in range(A_STEP)}
    assert {uuid.UUID(body["trace_id"]).bytes for _, body in server.accepted} == acknowledged


@pytest.mark.parametrize("senders", [True], indirect=True)
def test_an_overload_that_lasts(senders: Senders, server: Server) -> None:
    """A gateway under lasting overload first makes senders wait, and then chooses traces by their ids, errors first."""
    taken: list[bool] = []
    fills: list[float] = []
    for step in range(STEPS):
        taken.append(senders.send(step))
        fills.append(senders.pipeline.fill())

    counts = senders.gateway.counts()
    dropped: Counter[str] = Counter(counts["spans_dropped"])
    assert max(fills) <= 1.0
    assert all(taken[STEPS // 2 :])
    assert server.refused == 0
    assert len(server.accepted) >= 0.9 * LIMIT * (STEPS * STEP_S / 60 - 1)
    # Every acknowledged span is delivered, waits, or was dropped by choice, which the delivered traces report.
    assert counts["spans_accepted"] == sum(taken) * A_STEP
    assert counts["spans_accepted"] == counts["spans_delivered"] + counts["spans_pending"] + dropped.total()
    assert set(dropped) <= {"overload", "queue_full"}
    assert dropped["queue_full"] <= 0.2 * dropped.total()
    late = [body for at, body in server.accepted if at > 1000 + STEPS * STEP_S / 2]
    said = [body["metadata"] for body in late]
    assert any("overload" in metadata.get("pandaprobe_otel.dropped", {}) for metadata in said)
    assert min(metadata.get("pandaprobe_otel.sample_rate", 1.0) for metadata in said) < 0.3
    # A twentieth of the traces has an error: these go before the others, and the rare app gets its share.
    came = sum(step % 2 for step in range(STEPS // 2, STEPS)) * A_STEP // 10
    assert sum(body["status"] == "ERROR" for body in late) >= 0.8 * came
    names = Counter(body["name"] for body in late)
    assert min(names["busy"], names["rare"]) >= 0.1 * len(late)
