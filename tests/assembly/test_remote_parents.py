"""Traces over several services, where the span that directly calls a service is not sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pandaprobe_otel import Client, PandaProbeSpanExporter, PandaProbeSpanProcessor, session
from pandaprobe_otel.api.models import Span
from pandaprobe_otel.local import LocalServer
from spans import CHAT, HTTP, provider_with
from subprocesses import environment

AGENT = {"gen_ai.operation.name": "invoke_agent"}
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ask_stock"}

CALLER = """
import sys, httpx, pandaprobe_otel
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
handle = pandaprobe_otel.init(instrument=False)
HTTPXClientInstrumentor().instrument()
@pandaprobe_otel.tool
def ask_stock():
    return httpx.get(sys.argv[1], timeout=60).text
@pandaprobe_otel.agent
def shop():
    return ask_stock()
shop()
assert handle.flush(60), handle.status()
"""
CALLED = """
import sys, pandaprobe_otel
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry import trace
from opentelemetry.propagate import extract
handle = pandaprobe_otel.init(instrument=False)
@pandaprobe_otel.tool
def read_stock():
    return 7
class Stock(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass
    def answer(self):
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"7")
        self.wfile.flush()
    def do_GET(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        tracer = trace.get_tracer("server")
        with tracer.start_as_current_span(
            "GET /stock", extract(headers), kind=trace.SpanKind.SERVER, attributes={"http.request.method": "GET"}
        ):
            read_stock()
            self.answer()
            sys.stdin.readline()
server = HTTPServer(("127.0.0.1", 0), Stock)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.handle_request()
assert handle.flush(60), handle.status()
"""


def children(spans: list[Span], parent: UUID | None) -> Any:
    """Return the tree of spans below a parent as names."""
    return [(one.name, children(spans, one.span_id)) for one in spans if one.parent_span_id == parent]


def test_a_called_service_is_in_the_tree_of_its_caller() -> None:
    """A trace of two processes is one tree with every parent present, although the caller sends first."""
    with LocalServer(limit=None) as server:
        env = environment() | server.environment("shop")
        called = subprocess.Popen(
            [sys.executable, "-c", CALLED], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert called.stdin is not None
        assert called.stdout is not None
        url = called.stdout.readline().strip()
        subprocess.run([sys.executable, "-c", CALLER, url], env=env, timeout=120, check=True)
        called.communicate("go\n", timeout=120)
        assert called.returncode == 0
        with Client(server.api_key, "shop", server.url) as client:
            (found,) = client.traces.iter()
            spans = client.traces.get(found.trace_id).spans

    assert children(spans, None) == [("shop", [("ask_stock", [("GET /stock", [("read_stock", [])])])])]


@contextmanager
def service(server: LocalServer) -> Iterator[Tracer]:
    """Yield the tracer of a service, whose spans go to the server."""
    processor = PandaProbeSpanProcessor(api_key=server.api_key, project_name="shop", endpoint=server.url)
    with provider_with(processor) as tracer:
        yield tracer
        assert processor.force_flush(60_000)


def injected() -> dict[str, str]:
    """Return the headers that an HTTP client sends."""
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


def extracted(headers: dict[str, str]) -> Context:
    """Return the context that a server reads from the headers."""
    return TraceContextTextMapPropagator().extract(headers)


def test_a_parent_for_one_service_goes_no_further() -> None:
    """Each of three services in a row is below its direct caller: a service does not pass on the entry it received."""
    with LocalServer(limit=None) as server:
        with service(server) as third, service(server) as second, service(server) as first:
            with (
                first.start_as_current_span("agent", attributes=AGENT),
                first.start_as_current_span("tool", attributes=TOOL),
                first.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=HTTP),
            ):
                to_second = injected()
            with (
                second.start_as_current_span("second", extracted(to_second), kind=SpanKind.SERVER, attributes=HTTP),
                second.start_as_current_span("its agent", attributes=AGENT),
            ):
                by_hand = injected()
                with (
                    second.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=HTTP),
                    second.start_as_current_span("retry", kind=SpanKind.CLIENT, attributes=HTTP),
                ):
                    to_third = injected()
                    with second.start_as_current_span("chat", attributes=CHAT):
                        from_inside = injected()
            for headers in (by_hand, to_third, from_inside):
                with third.start_as_current_span("third", extracted(headers), attributes=AGENT):
                    pass
        with Client(server.api_key, "shop", server.url) as client:
            (found,) = client.traces.iter()
            spans = client.traces.get(found.trace_id).spans

    assert ["tracestate" in headers for headers in (to_second, by_hand, to_third, from_inside)] == [1, 0, 1, 0]
    (tool,) = [one for one in spans if one.name == "ask_stock"]
    assert children(spans, tool.span_id) == [
        ("second", [("its agent", [("chat", [("third", [])]), ("third", []), ("third", [])])])
    ]


@contextmanager
def written(path: Path, spans: object = "agent") -> Iterator[tuple[Tracer, Callable[[], list[dict[str, Any]]]]]:
    """Yield a tracer, and a function that returns the spans of the trace that its service sent."""
    processor = PandaProbeSpanProcessor(local=path, spans=spans)  # type: ignore[arg-type]

    def sent() -> list[dict[str, Any]]:
        assert processor.force_flush(60_000)
        (trace,) = map(json.loads, path.read_text().splitlines())
        found: list[dict[str, Any]] = trace["spans"]
        return found

    with provider_with(processor) as tracer:
        yield tracer, sent


def test_a_span_recognised_too_late_stays(tmp_path: Path) -> None:
    """A span that is recognised too late as a messaging span stays, since another service may have it as parent."""
    with written(tmp_path / "traces.jsonl") as (tracer, sent):
        with tracer.start_as_current_span("agent", attributes=AGENT):
            with tracer.start_as_current_span("apply_async", kind=SpanKind.PRODUCER) as span:
                headers = injected()
                span.set_attribute("messaging.system", "celery")
            with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT) as span:
                span.set_attribute("db.system", "postgresql")
            with (
                tracer.start_as_current_span("chat", attributes=CHAT),
                tracer.start_as_current_span("POST", kind=SpanKind.CLIENT) as span,
            ):
                span.set_attribute("http.request.method", "POST")
        spans = {span["name"]: span for span in sent()}

    assert sorted(spans) == ["agent", "apply_async", "chat"]
    assert "tracestate" not in headers
    assert spans["apply_async"]["span_id"].replace("-", "").endswith(headers["traceparent"].split("-")[2])


@pytest.mark.parametrize("late", [True, False])
def test_the_stand_in_for_a_left_out_parent_is_sent(tmp_path: Path, late: bool) -> None:
    """A span that another service was given as its parent is sent, even if the filter would leave it out."""
    with written(tmp_path / "traces.jsonl") as (tracer, sent):
        with (
            tracer.start_as_current_span("agent", attributes=AGENT),
            tracer.start_as_current_span("look up", attributes=None if late else HTTP) as above,
            tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=HTTP),
        ):
            headers = injected()
            if late:
                above.set_attribute("http.request.method", "GET")
        ids = [span["span_id"].replace("-", "")[16:] for span in sent()]

    assert headers["tracestate"].removeprefix("pandaprobe=") in ids


def test_a_session_hides_no_plumbing(tmp_path: Path) -> None:
    """A session, which adds attributes to every span, does not keep the filter from leaving out an HTTP span."""
    with written(tmp_path / "traces.jsonl") as (tracer, sent), session("s-1"):
        with (
            tracer.start_as_current_span("agent", attributes=AGENT),
            tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=HTTP),
        ):
            headers = injected()
        assert [span["name"] for span in sent()] == ["agent"]
    assert headers["tracestate"].startswith("pandaprobe=")


def test_entries_of_others_are_carried_on(tmp_path: Path) -> None:
    """Other vendors' entries of `tracestate` are passed on, with or without ours."""
    given = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": f"pandaprobe={'12' * 8},rojo=1"}
    with written(tmp_path / "traces.jsonl") as (tracer, sent):
        with tracer.start_as_current_span("agent", extracted(given), attributes=AGENT):
            inside = injected()
            with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=HTTP):
                on = injected()
        (agent,) = sent()

    assert agent["parent_span_id"].replace("-", "")[16:] == "12" * 8
    assert inside["tracestate"] == "rojo=1"
    assert on["tracestate"] == f"pandaprobe={agent['span_id'].replace('-', '')[16:]},rojo=1"


@pytest.mark.parametrize("value", ["", "0" * 16, "12" * 9, "_" * 16])
def test_an_entry_that_is_no_id_is_ignored(tmp_path: Path, value: str) -> None:
    """An invalid entry of ours is ignored, and the parent is the one in `traceparent`."""
    given = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": f"pandaprobe={value}"}
    with written(tmp_path / "traces.jsonl") as (tracer, sent):
        with tracer.start_as_current_span("agent", extracted(given), attributes=AGENT):
            pass
        assert sent()[0]["parent_span_id"].replace("-", "")[16:] == "cd" * 8


def test_an_exporter_reads_what_a_processor_has_written(tmp_path: Path) -> None:
    """An exporter reads our entry of `tracestate`, although it cannot write one, since it does not see starts."""
    path = tmp_path / "traces.jsonl"
    exporter = PandaProbeSpanExporter(local=path)
    given = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": f"pandaprobe={'12' * 8}"}
    with provider_with(SimpleSpanProcessor(exporter)) as tracer:
        with tracer.start_as_current_span("agent", extracted(given), attributes=AGENT):
            pass
        assert exporter.force_flush(60_000)
    (trace,) = map(json.loads, path.read_text().splitlines())
    assert trace["spans"][0]["parent_span_id"].replace("-", "")[16:] == "12" * 8
