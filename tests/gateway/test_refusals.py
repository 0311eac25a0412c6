"""Requests that no exporter sends: damaged, huge and hostile bodies get a 4xx with a reason, within bounds."""

from __future__ import annotations

import gzip
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.sdk.trace import ReadableSpan

from otlp_senders import agent_trace, body_of, post
from pandaprobe_otel.errors import ConfigError
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment
from waiting import wait_until

BODY = body_of(agent_trace(3))
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


BROKEN_JSON = [
    *(b"", b" ", b"1", b"{}x", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1 "b":2}', b"{1:2}", b'{"a":tru}'),
    *(b'{"resourceSpans":{}}', b'{"resourceSpans":[{]}', b'{"resourceSpans":[{},]}', b'{"resourceSpans":[,{}]}'),
    *(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}' + end for end in (b"", b"]", b",]}]}]}", b"}]}]}]}")),
    *(b'{"' + b'{,\\"' * 100_000, b'{"a":"' + b"{,[" * 100_000 + b"\\", b'{"' * 99_999),
]


def span_with_id(trace_id: Any) -> bytes:
    """Return a request in JSON with this trace id."""
    return json.dumps(
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace_id, "spanId": "0" * 15 + "1"}]}]}]}
    ).encode()


@pytest.fixture(autouse=True)
def goes_on(gateway: Gateway) -> Iterator[None]:
    """Check after each test that the gateway accepts the next request."""
    yield
    assert post(gateway.url, BODY).status_code == 200


def message_of(answer: httpx.Response) -> str:
    """Return the answer's message, decoded by its content type."""
    if answer.headers["content-type"] == "application/json":
        return str(answer.json()["message"])
    return str(Status.FromString(answer.content).message)


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (BODY, {"Content-Type": "text/plain"}, 415, "Content-Type"),
        (BODY, {"Content-Encoding": "br"}, 415, "br is not supported"),
        (BODY, {"Content-Encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(BODY)[:-9], {"Content-Encoding": "gzip"}, 400, "ends too early"),
        (gzip.compress(BODY) + b"more", {"Content-Encoding": "gzip"}, 400, "bytes after"),
        (zlib.compress(bytes(5_000_000)), {"Content-Encoding": "deflate"}, 413, "larger than 1000000 bytes"),
        (bytes(1_000_001), {}, 413, "larger than"),
        (b"\xff" * 50, {}, 400, "not an ExportTraceServiceRequest"),
        (BODY[:-3], {}, 400, "not an ExportTraceServiceRequest"),
        (b"[]", {"Content-Type": "application/json"}, 400, "not an object"),
        (b'{"resourceSpans": 1}', {"Content-Type": "application/json"}, 400, "resourceSpans"),
        (b'{"resourceSpans": [[]]}', {"Content-Type": "application/json"}, 400, "is not an object"),
        (
            b'{"resourceSpans": [{"resource": "\\ud800", ' + span_with_id("1" * 32)[20:],
            {"Content-Type": "application/json"},
            400,
            "",
        ),
        (b'{"resourceSpans":' + b"[" * 100_000, {"Content-Type": "application/json"}, 400, "in JSON"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}', {}, 400, "not an Export"),
        (b"\x0a\x80\x01" * 5000, {}, 400, "not an Export"),
        *((body, {"Content-Type": "application/json"}, 400, "in JSON") for body in BROKEN_JSON),
        *(
            (span_with_id(one), {"Content-Type": "application/json"}, 400, "")
            for one in ("xyz", "00", 7, ["a"], "é" * 32)
        ),
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


def test_a_sender_that_goes_away_in_the_middle(gateway: Gateway) -> None:
    """A sender that disconnects after half a body does not disturb the gateway."""
    with socket.create_connection(("127.0.0.1", gateway.http_port or 0)) as sender:
        head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n"
        sender.sendall(head.encode() + b"Content-Type: application/x-protobuf\r\n\r\n" + BODY[:40])
    assert post(gateway.url, BODY).status_code == 200


def test_a_full_gateway_makes_senders_wait(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full gateway returns 503 with Retry-After over HTTP, and RESOURCE_EXHAUSTED with RetryInfo over gRPC."""
    assert gateway.pipeline is not None
    monkeypatch.setattr(gateway.pipeline, "fill", lambda: 0.95)
    answer = post(gateway.url, BODY)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert "95% full" in message_of(answer)
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


def test_every_acknowledged_trace_is_delivered_after_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """While PandaProbe is away and the queue full, senders are refused; each trace that was acknowledged arrives."""
    monkeypatch.setenv("PANDAPROBE_MAX_QUEUE_BYTES", str(1 << 20))
    acknowledged: set[str] = set()
    with StrictPandaProbe(limit=1000) as server:
        server.stop()
        with Gateway(endpoint=server.url, api_key="sk_pp_x", grpc_port=None) as gateway:
            for _ in range(80):
                spans = agent_trace(2, text=secrets.token_hex(20_000))
                answer = post(gateway.url, body_of(spans))
                if answer.status_code == 503:
                    break
                assert spans[0].context is not None
                acknowledged.add(str(uuid.UUID(int=spans[0].context.trace_id)))
                assert gateway.pipeline is not None
                gateway.pipeline.flush(0.0)  # hands complete traces over to the queue
            assert answer.headers["Retry-After"]
            server.start()
            assert gateway.pipeline is not None
            assert gateway.pipeline.flush(60)
            assert not gateway.counts()["spans_dropped"]
        assert len(acknowledged) > 5
        assert server.traces.keys() == acknowledged


def test_settings_that_cannot_work(shared_server: LocalServer, gateway: Gateway) -> None:
    """`start` raises without an API key or if the port is in use, and leaves nothing open."""
    with pytest.raises(ConfigError, match="API key"):
        Gateway(endpoint="https://pandaprobe.example").start()
    with pytest.raises(OSError, match="in use"):
        Gateway(endpoint=shared_server.url, http_port=gateway.http_port).start()


# -- kill -9 -----------------------------------------------------------------------------------------------------------


def start(env: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """Start a gateway by its command, and return the process and its URL."""
    command = [sys.executable, "-m", "pandaprobe_otel.cli", "gateway", "--http-port", "0", "--no-grpc"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "PandaProbe gateway" in process.stdout.readline()
    return process, process.stdout.readline().split()[-1].removesuffix("/v1/traces")


def end(process: subprocess.Popen[str]) -> int:
    """Terminate the gateway, and return its exit code."""
    process.terminate()
    process.communicate(timeout=60)
    return process.returncode


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Spans acknowledged by a killed gateway, some without their root, are all delivered by the next one."""
    with StrictPandaProbe(limit=1000) as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"))
        server.stop()  # stopped until the first gateway is dead, so that no request has an unknown outcome
        first, url = start(env)
        expected: set[tuple[str, str]] = set()
        for number in range(20):
            spans = agent_trace(5)
            sent = spans if number % 2 else spans[:-1]  # the root ends last
            assert post(url, body_of(sent)).status_code == 200
            expected |= set(map(_ids, sent))
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=60)
        server.start()
        second, url = start(env)
        assert httpx.get(f"{url}/health", timeout=60).json()["status"] == "ok"
        wait_until(lambda: expected <= _stored(server))
        assert end(second) == 0


def _ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.context is not None
    return trace_uuid(span.context.trace_id), span_uuid(span.context.trace_id, span.context.span_id)


def _stored(server: StrictPandaProbe) -> set[tuple[str, str]]:
    return {(trace_id, span_id) for trace_id, trace in list(server.traces.items()) for span_id in list(trace.spans)}
