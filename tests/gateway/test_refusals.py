"""Requests that no exporter sends: damaged, huge and hostile bodies get a 4xx with a reason, within bounds."""

from __future__ import annotations

import gzip
import json
import random
import socket
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp_senders import agent_trace, body_of, post, resident_kb
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.gateway.errors import RefusedError
from pandaprobe_otel.gateway.intake import Intake
from pandaprobe_otel.gateway.otlp_protobuf import read_protobuf
from pandaprobe_otel.local import LocalServer

BODY = body_of(agent_trace(3))
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(autouse=True)
def goes_on(gateway: Gateway) -> Iterator[None]:
    """Check after each test that the gateway accepts the next request."""
    yield
    assert post(gateway.url, BODY).status_code == 200


def message_of(answer: httpx.Response) -> str:
    """Return the answer's message, decoded by its content type."""
    if answer.headers["content-type"] == "application/json":
        text: str = answer.json()["message"]
        return text
    said: str = Status.FromString(answer.content).message
    return said


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (BODY, {"Content-Type": "text/plain"}, 415, "Content-Type"),
        (BODY, {"Content-Encoding": "br"}, 415, "br is not supported"),
        (BODY, {"Content-Encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(BODY)[:-9], {"Content-Encoding": "gzip"}, 400, "ends too early"),
        (gzip.compress(BODY) + b"more", {"Content-Encoding": "gzip"}, 400, "bytes after"),
        (zlib.compress(bytes(5_000_000)), {"Content-Encoding": "deflate"}, 413, "larger than 1000000 bytes"),
        (gzip.compress(bytes(200_000_000), 1), {"Content-Encoding": "gzip"}, 413, "--max-body"),
        (bytes(1_000_001), {}, 413, "larger than"),
        (b"\xff" * 50, {}, 400, "not an ExportTraceServiceRequest"),
        (BODY[:-3], {}, 400, "not an ExportTraceServiceRequest"),
        (b"{", {"Content-Type": "application/json"}, 400, "in JSON"),
        (b"[]", {"Content-Type": "application/json"}, 400, "not an object"),
        (b'{"resourceSpans": 1}', {"Content-Type": "application/json"}, 400, "resourceSpans"),
        (b'{"resourceSpans": [[]]}', {"Content-Type": "application/json"}, 400, "resourceSpans"),
        (b'{"resourceSpans":' + b"[" * 100_000, {"Content-Type": "application/json"}, 400, "in JSON"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}', {}, 400, "not an Export"),
    ],
)
def test_an_unreadable_request_gets_a_reason(
    gateway: Gateway, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    """An unreadable request gets a 4xx with a reason, since a sender would repeat it after a 5xx."""
    answer = post(gateway.url, body, headers)
    assert answer.status_code == status
    assert words in message_of(answer)
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("trace_id", ["xyz", "00", "0" * 31, 7, ["a"], "é" * 32])
def test_ids_that_are_none_in_json(gateway: Gateway, trace_id: Any) -> None:
    """Invalid ids, of any type, are rejected."""
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace_id, "spanId": "0" * 15 + "1"}]}]}]}
    answer = post(gateway.url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    assert answer.status_code == 400


def nested(depth: int) -> bytes:
    """Return a span with this many nested lists."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="deep")
    value = span.attributes.add(key="deep").value
    for _ in range(depth):
        value = value.array_value.values.add()
    value.string_value = "bottom"
    encoded: bytes = request.SerializeToString()
    return encoded


def test_depth(gateway: Gateway) -> None:
    """The gateway accepts every depth that Protobuf reads, and a deeper value gets 400."""
    assert post(gateway.url, nested(40)).status_code == 200
    assert post(gateway.url, b"\x0a\x80\x01" * 5000).status_code == 400


AS_JSON = (
    b'{"resourceSpans":[{"resource":{"attributes":[{"key":"k","value":{"intValue":"7"}}]},"scopeSpans":[{"spans":['
    b'{"traceId":"11111111111111111111111111111111","spanId":"2222222222222222","name":"n","kind":2}]}]}]}'
)


def damaged(body: bytes, rng: random.Random) -> bytes:
    """Return the body with one to four bytes changed, some cut out, or one inserted."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(body))
        cut = rng.choice([0, 1, 1, rng.randint(1, 20)])
        put_in = b"" if cut > 1 else bytes([rng.randrange(256)])
        body = body[:at] + put_in + body[at + cut :]
    return body


def test_damaged_bodies_never_get_a_500(gateway: Gateway) -> None:
    """Bodies with changed, missing or added bytes get 200 or 400, in both encodings; the seed is fixed."""
    rng = random.Random(7)
    before = resident_kb()
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        for _ in range(150):
            kind, plain = rng.choice([("application/x-protobuf", BODY), ("application/json", AS_JSON)])
            body = damaged(plain, rng)
            answer = client.post("/v1/traces", content=body, headers={"Content-Type": kind})
            assert answer.status_code in (200, 400), (answer.status_code, body)
    assert resident_kb() - before < 50_000


def test_a_sender_that_goes_away_in_the_middle(gateway: Gateway) -> None:
    """A sender that disconnects after half a body does not disturb the gateway."""
    with socket.create_connection(("127.0.0.1", gateway.http_port or 0)) as sender:
        head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n"
        sender.sendall(head.encode() + b"Content-Type: application/x-protobuf\r\n\r\n" + BODY[:40])


class Full:
    """A receiver that is full, or receives nothing in time."""

    def __init__(self, *, fill: float = 0.0, receives: bool = True) -> None:
        self._fill, self._receives = fill, receives

    def receive(self, spans: Any, deadline: float) -> bool:
        return self._receives

    def fill(self) -> float:
        return self._fill

    def is_choosing(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("receiver", "words"),
    [
        (Full(fill=0.95), "95% full"),
        (Full(receives=False), "busy"),
    ],
)
def test_senders_wait_while_there_is_no_room(receiver: Full, words: str) -> None:
    """Without room, the gateway asks the sender to wait instead of acknowledging spans that it cannot keep."""
    intake = Intake(receiver)

    def take() -> None:
        intake.check_room()
        intake.take(partial(read_protobuf, BODY))

    with pytest.raises(RefusedError, match=words) as caught:
        take()
    assert caught.value.http_status == 503
    assert caught.value.retry_after_s


def test_a_full_gateway_says_when_to_come_back(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full gateway returns 503 with Retry-After over HTTP, and RESOURCE_EXHAUSTED with RetryInfo over gRPC."""
    assert gateway.pipeline is not None
    monkeypatch.setattr(gateway.pipeline, "fill", lambda: 1.0)
    answer = post(gateway.url, BODY)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(EXPORT)(BODY, timeout=60)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        retry = RetryInfo()
        assert details.details[0].Unpack(retry)
        assert retry.retry_delay.seconds == 30
    monkeypatch.undo()


def test_grpc_names_what_it_cannot_read(gateway: Gateway) -> None:
    """Invalid bytes over gRPC get INVALID_ARGUMENT, and too many bytes get RESOURCE_EXHAUSTED."""
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
        export = channel.unary_unary(EXPORT)
        for body, code in ((b"\xff" * 50, "INVALID_ARGUMENT"), (bytes(2_000_000), "RESOURCE_EXHAUSTED")):
            with pytest.raises(grpc.RpcError) as caught:
                export(body, timeout=60)
            error: Any = caught.value
            assert error.code().name == code


def test_settings_that_cannot_work(shared_server: LocalServer, gateway: Gateway) -> None:
    """`start` raises without an API key or if the port is in use, and leaves nothing open."""
    with pytest.raises(ConfigError, match="API key"):
        Gateway(endpoint="https://pandaprobe.example").start()
    with pytest.raises(OSError, match="in use"):
        Gateway(endpoint=shared_server.url, http_port=gateway.http_port).start()
