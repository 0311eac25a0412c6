"""Bodies that hypothesis makes up, over both protocols: a clear refusal or success, within a bound of memory."""

from __future__ import annotations

import copy
import gc
import gzip
import json
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import grpc
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp_mutations import Mutations
from otlp_senders import agent_trace, body_of, resident_kb, varint
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.pipeline import ExportPipeline
from pandaprobe_otel.transport.messages import Answer, Request
from rings import IN_FULL

MAX_BODY: Final = 1_000_000
MOST_MORE_KB: Final = 120_000
"""What the bodies of all that is sent at once may take, copies included: a fraction of any bomb here."""
EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF, JSON = {"Content-Type": "application/x-protobuf"}, {"Content-Type": "application/json"}
BODY: Final = body_of(agent_trace(3))
AS_JSON: Final[dict[str, Any]] = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [
                {
                    "scope": {"name": "s"},
                    "spans": [
                        {
                            "traceId": "11111111111111111111111111111111",
                            "spanId": "2222222222222222",
                            "name": "n",
                            "kind": 2,
                            "startTimeUnixNano": "1",
                            "endTimeUnixNano": "2",
                            "attributes": [{"key": "k", "value": {"intValue": "7"}}],
                            "events": [{"name": "e", "timeUnixNano": "1"}],
                            "links": [{"traceId": "1" * 32, "spanId": "2" * 16}],
                            "status": {"code": 2, "message": "m"},
                        }
                    ],
                }
            ],
        }
    ]
}

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    """One connection for all bodies of this file."""
    with httpx.Client(base_url=gateway.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def channel(gateway: Gateway) -> Iterator[Any]:
    """The same for gRPC."""
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as opened:
        yield opened


@pytest.fixture(autouse=True)
def bounded(http: httpx.Client) -> Iterator[None]:
    """No test leaves the process much larger, and the gateway goes on after each."""
    before = resident_kb()
    yield
    assert http.post("/v1/traces", content=BODY, headers=PROTOBUF).status_code == 200
    assert resident_kb() - before < MOST_MORE_KB


def by_http(http: httpx.Client, body: bytes, headers: dict[str, str]) -> int:
    """The status; a refusal says why."""
    answer = http.post("/v1/traces", content=body, headers=headers)
    assert answer.status_code in (200, 400, 413, 415), (answer.status_code, body[:200])
    assert answer.status_code == 200 or b"pandaprobe-otel: " in answer.content
    return answer.status_code


def by_grpc(channel: Any, body: bytes, compression: Any = None) -> str:
    """The name of the code; a refusal says why."""
    try:
        channel.unary_unary(EXPORT)(body, timeout=60, compression=compression)
    except grpc.RpcError as error:
        failure: Any = error
        assert failure.code().name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), (failure, body[:200])
        assert failure.details()
        return str(failure.code().name)
    return "OK"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in JSON."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def with_other(path: tuple[Any, ...], other: Any) -> dict[str, Any]:
    """The request with something else at a place."""
    changed = copy.deepcopy(AS_JSON)
    holder: Any = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = other
    return changed


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@few
@given(end=st.integers(0, len(BODY)), zipped=st.booleans())
def test_truncated(http: httpx.Client, channel: Any, end: int, zipped: bool) -> None:
    """Cut anywhere: what is left is a smaller request, or none; a compressed one is none."""
    by_http(http, BODY[:end], PROTOBUF)
    by_grpc(channel, BODY[:end])
    text = json.dumps(AS_JSON).encode()
    assert by_http(http, text[: min(end, len(text) - 1)], JSON) == 400
    packed = gzip.compress(BODY)
    if zipped:
        assert by_http(http, packed[: min(end, len(packed) - 1)], {**PROTOBUF, "Content-Encoding": "gzip"}) == 400


@few
@given(body=st.binary(max_size=300), at=st.integers(0, len(BODY)))
def test_noise(http: httpx.Client, channel: Any, body: bytes, at: int) -> None:
    """Alone, and in the middle of a request."""
    for noise in (body, BODY[:at] + body + BODY[at:]):
        by_http(http, noise, PROTOBUF)
        by_http(http, noise, {**PROTOBUF, "Content-Encoding": "gzip"})
        by_grpc(channel, noise)
    assert by_http(http, b"\xff" + body, JSON) == 400


@few
@given(path=st.sampled_from(list(places(AS_JSON))), other=anything)
def test_wrong_types(http: httpx.Client, path: tuple[Any, ...], other: Any) -> None:
    """Anything at any place of a request in JSON; what is unknown is ignored, the rest is an error of the sender."""
    by_http(http, json.dumps(with_other(path, other)).encode("utf-8", "surrogatepass"), JSON)


@few
@given(depth=st.integers(1, 5000), inner=st.sampled_from(["arrayValue", "kvlistValue"]))
def test_deep(http: httpx.Client, channel: Any, depth: int, inner: str) -> None:
    """A value in a value in a value, in both encodings."""
    ways = {"arrayValue": '{"arrayValue":{"values":[', "kvlistValue": '{"kvlistValue":{"values":[{"key":"k","value":'}
    ends = {"arrayValue": "]}}", "kvlistValue": "}]}}"}
    value = ways[inner] * depth + '{"stringValue":"x"}' + ends[inner] * depth
    marked = with_other(("resourceSpans", 0, "resource", "attributes", 0, "value"), "HERE")
    status = by_http(http, json.dumps(marked).replace('"HERE"', value).encode(), JSON)
    assert 20 <= depth < 100 or status == (200 if depth < 20 else 400)
    by_grpc(channel, nested(min(depth, 200)))
    by_http(http, nested(min(depth, 200)), PROTOBUF)


def nested(depth: int) -> bytes:
    """An ExportTraceServiceRequest with so many lists within each other, written by hand."""
    value = b""
    for field in (*([0x0A, 0x2A] * depth), 0x12, 0x0A, 0x0A, 0x0A):  # ArrayValue, AnyValue; KeyValue, Resource, ...
        value = bytes([field]) + varint(len(value)) + value
    return value


@settings(few, max_examples=4)
@given(megabytes=st.integers(2, 200), filler=st.sampled_from([b"\0", b"[", b'{"a":', b"\x0a\x80\x01"]))
def test_bombs(http: httpx.Client, channel: Any, megabytes: int, filler: bytes) -> None:
    """A few kilobytes that unfold to more than the bound are never unfolded as a whole."""
    bomb = gzip.compress(filler * (megabytes * 1_000_000 // len(filler)), 1)
    before = resident_kb()
    for kind in (PROTOBUF, JSON):
        assert by_http(http, bomb, {**kind, "Content-Encoding": "gzip"}) == 413
        assert by_http(http, gzip.compress(bomb), {**kind, "Content-Encoding": "gzip"}) in (400, 413)
    assert resident_kb() - before < MOST_MORE_KB


def test_bombs_of_grpc(channel: Any) -> None:
    """gRPC's own compression: the bound is that of the unfolded message."""
    assert by_grpc(channel, bytes(50_000_000), grpc.Compression.Gzip) == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("size", [MAX_BODY + 1, 20_000_000])
def test_huge(http: httpx.Client, channel: Any, size: int) -> None:
    """A body over the bound, declared or not, and one attribute that fills it."""
    assert by_http(http, bytes(size), PROTOBUF) == 413
    chunks = (bytes(100_000) for _ in range(size // 100_000 + 1))
    assert http.post("/v1/traces", content=chunks, headers=PROTOBUF).status_code == 413
    assert by_grpc(channel, bytes(size)) == "RESOURCE_EXHAUSTED"
    request = ExportTraceServiceRequest.FromString(BODY)
    request.resource_spans[0].resource.attributes.add(key="k").value.string_value = "x" * (MAX_BODY - 10_000)
    assert by_http(http, request.SerializeToString(), PROTOBUF) == 200


class Taking:
    """A PandaProbe that takes everything and keeps nothing."""

    def send(self, request: Request) -> Answer:
        """At once."""
        return Answer(status=202)

    def close(self) -> None:
        """Nothing is open."""

    def reset_after_fork(self) -> None:
        """Nothing is open."""


class UnlimitedGateway(Gateway):
    """The same servers, with nothing that could wait behind them."""

    def _open_pipeline(self) -> ExportPipeline:
        config = Config.resolve({"api_key": "sk_pp_x", "project_name": "p"})
        bucket = partial(LeasedBucket, window_s=0.0, margin_s=0.0)
        return ExportPipeline(config, counts_starts=False, is_gateway=True, transport=Taking(), bucket=bucket)


SEEDS: Final = (3, 20_261_128, 7)
"""Kept: whoever finds another one that breaks something adds it."""
MOST_LEFT_KB: Final = 60_000
"""Of what the allocator keeps, and traces that wait for their root."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [40, pytest.param(3_400, marks=IN_FULL)])
def test_anything(seed: int, count: int) -> None:
    """Over both protocols: never a 5xx but 503, and memory comes back to where it was."""
    with (
        UnlimitedGateway(max_body=MAX_BODY) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60) as http,
        grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel,
    ):
        assert gateway.pipeline is not None
        before = 0
        for sent in Mutations(seed).requests(count):
            by_http(http, sent.body, sent.headers)
            by_grpc(channel, sent.body)
            if sent.number == count // 5:  # by then all is loaded that is loaded once
                assert by_http(http, BODY, PROTOBUF) == 200
                gateway.pipeline.flush(60)
                before = resident_kb()
        gateway.pipeline.flush(60)
        gc.collect()
        assert resident_kb() - before < MOST_LEFT_KB
