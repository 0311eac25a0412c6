"""Services in two languages: Node.js sends with OpenTelemetry's own exporters, and one trace spans several services."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from node_programs import require_node, run_node, serving
from pandaprobe_otel.gateway import Gateway
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping.ids import trace_uuid
from subprocesses import environment

URLS = {"http/json": "{http}/v1/traces", "http/protobuf": "{http}/v1/traces", "grpc": "http://127.0.0.1:{grpc}"}

BY_EXPORTER = """
import os
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider(resource=Resource({"service.name": os.environ["SERVICE"]}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=os.environ["OTLP_URL"])))
trace.set_tracer_provider(provider)
def flush(seconds):
    provider.force_flush(60_000)  # what is left to its own five seconds could come after the test has looked
"""
BY_INIT = """
import pandaprobe_otel
from opentelemetry import trace
handle = pandaprobe_otel.init(instrument=False)
flush = handle.flush
"""
FRONT = """
import sys, urllib.request
from opentelemetry.propagate import inject
tracer = trace.get_tracer("test")
with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}) as root:
    headers = {}
    inject(headers)
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers)) as answer:
        assert answer.read() == b"ranked"
flush(60)
print(format(root.get_span_context().trace_id, "032x"))
"""
BACK = """
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry.propagate import extract
tracer = trace.get_tracer("test")
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with tracer.start_as_current_span(
            "rank", context=extract(dict(self.headers)), attributes={"gen_ai.operation.name": "chat"}
        ):
            pass
        flush(0.0)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ranked")
    def log_message(self, *args):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture(autouse=True)
def node() -> None:
    """Skip the test unless Node.js is installed."""
    require_node()


def settings(gateway: Gateway, server: LocalServer, service: str) -> dict[str, str]:
    """Return the settings of a Python service that sends to the gateway or directly to PandaProbe."""
    own = environment(server.url, PANDAPROBE_API_KEY=server.api_key, PANDAPROBE_PROJECT_NAME="default")
    return {**own, "SERVICE": service, "OTLP_URL": f"{gateway.url}/v1/traces"}


@contextmanager
def back_service(code: str, env: dict[str, str]) -> Iterator[str]:
    """Run the last of the three services; yield its URL."""
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.kill()


def stored(server: LocalServer, trace_id: int, spans: int) -> dict[str, Any]:
    """Wait until the trace has this many spans, and return it as PandaProbe shows it."""
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "default"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        for _ in range(600):
            answer = client.get(f"/traces/{trace_uuid(trace_id)}")
            if answer.status_code == 200 and len(answer.json()["spans"]) >= spans:
                trace: dict[str, Any] = answer.json()
                return trace
            httpx.get(f"{server.url}/health", timeout=60)
    raise AssertionError(answer.text)


@pytest.mark.parametrize("protocol", list(URLS))
def test_exporters_of_node_reach_it(gateway: Gateway, shared_server: LocalServer, protocol: str) -> None:
    """Node.js's exporters reach the gateway with kinds, tokens, messages and the service, in all three encodings."""
    url = URLS[protocol].format(http=gateway.url, grpc=gateway.grpc_port)
    trace_id = int(run_node("send.cjs", protocol, url), 16)
    assert gateway.pipeline is not None
    assert gateway.pipeline.flush(60)
    trace = stored(shared_server, trace_id, 2)
    root, chat = sorted(trace["spans"], key=lambda span: span["parent_span_id"] is not None)
    assert (root["kind"], chat["kind"]) == ("AGENT", "LLM")
    assert chat["parent_span_id"] == root["span_id"]
    assert chat["token_usage"]["prompt_tokens"] == 12
    assert "where is it?" in json.dumps(chat["input"])
    assert trace["status"] == "COMPLETED"


@pytest.mark.parametrize("python", [BY_EXPORTER, BY_INIT], ids=["all by the gateway", "Python by itself"])
def test_a_trace_over_three_services_is_one(gateway: Gateway, shared_server: LocalServer, python: str) -> None:
    """A trace from Python through Node.js to Python is one trace, named after its root."""
    back = settings(gateway, shared_server, "back")
    with (
        back_service(python + BACK, back) as back_url,
        serving("service.cjs", f"{gateway.url}/v1/traces", back_url) as middle_url,
    ):
        front = settings(gateway, shared_server, "front")
        command = [sys.executable, "-c", python + FRONT, middle_url]
        done = subprocess.run(command, env=front, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        trace_id = int(done.stdout, 16)
        assert gateway.pipeline is not None
        assert gateway.pipeline.flush(60)
        trace = stored(shared_server, trace_id, 3)
    by_name = {span["name"]: span for span in trace["spans"]}
    assert by_name.keys() == {"agent", "search", "rank"}
    assert by_name["agent"]["parent_span_id"] is None
    assert by_name["search"]["parent_span_id"] == by_name["agent"]["span_id"]
    assert by_name["rank"]["parent_span_id"] == by_name["search"]["span_id"]
    assert (trace["name"], trace["status"]) == ("agent", "COMPLETED")
