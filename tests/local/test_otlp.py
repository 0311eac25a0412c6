"""OTLP sent to the local server itself: traces as from a gateway, without a second process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.util.types import AttributeValue

from node_programs import require_node, run_node
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping.ids import trace_uuid


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Yield a local server without limits."""
    with LocalServer(limit=None) as running:
        yield running


def stored(server: LocalServer, trace_id: str, project: str = "default") -> dict[str, Any]:
    """Stop the OTLP receivers, which delivers what has arrived, and return the trace."""
    server.services.otlp.close()
    headers = {"X-API-Key": server.api_key, "X-Project-Name": project}
    found: dict[str, Any] = httpx.get(f"{server.url}/traces/{trace_id}", headers=headers).raise_for_status().json()
    return found


def send(server: LocalServer, **headers: str) -> str:
    """Send a trace of two spans with OpenTelemetry's own exporter, and return its id."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    exporter = OTLPSpanExporter(endpoint=f"{server.url}/v1/traces", headers=headers)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    asked: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.input_tokens": 7,
    }
    with tracer.start_as_current_span("shop", attributes={"gen_ai.operation.name": "invoke_agent"}) as root:
        tracer.start_span("chat gpt-5", attributes=asked).end()
    provider.shutdown()
    return str(trace_uuid(root.get_span_context().trace_id))


def test_a_trace_arrives(server: LocalServer) -> None:
    """Spans that are exported one by one become one trace, mapped as from any instrumentation."""
    found = stored(server, send(server))

    assert [(span["name"], span["kind"]) for span in found["spans"]] == [("shop", "AGENT"), ("chat gpt-5", "LLM")]
    assert found["spans"][1]["token_usage"]["prompt_tokens"] == 7


def test_headers_name_the_project(server: LocalServer) -> None:
    """The header that names the project is that of `POST /traces`."""
    trace_id = send(server, **{"x-project-name": "orders"})

    assert stored(server, trace_id, "orders")["name"] == "shop"


@pytest.mark.parametrize("sender", ["http/json", "http/protobuf"])
def test_a_program_in_node_sends_by_its_own_exporter(server: LocalServer, sender: str) -> None:
    """The exporters of Node.js work in both encodings."""
    require_node()
    trace_id = run_node("send.cjs", sender, f"{server.url}/v1/traces").strip()

    assert stored(server, str(trace_uuid(int(trace_id, 16))))["spans"]


def test_stopping_delivers_what_has_come(tmp_path: Any) -> None:
    """Before it stops, a server with a file stores the traces that have arrived."""
    path = tmp_path / "traces.db"
    with LocalServer(path, limit=None) as server:
        trace_id = send(server)
    with LocalServer(path) as server:
        assert stored(server, trace_id)["name"] == "shop"


def test_a_key_is_asked_for_where_keys_are_checked() -> None:
    """On a server with auth, an unknown key is refused."""
    with LocalServer(auth=True) as server:
        body = json.dumps({"resourceSpans": []})
        headers = {"content-type": "application/json"}
        refused = httpx.post(f"{server.url}/v1/traces", content=body, headers=headers)
        taken = httpx.post(f"{server.url}/v1/traces", content=body, headers={**headers, "x-api-key": server.api_key})

    assert (refused.status_code, taken.status_code) == (401, 200)


def test_names_that_strangers_make_up_cost_nothing_without_bound(server: LocalServer) -> None:
    """The number of projects that send OTLP is limited, since each has its own threads; a further one gets 429."""
    body, headers = json.dumps({"resourceSpans": []}), {"content-type": "application/json"}
    with httpx.Client(base_url=server.url) as http:
        answers = [
            http.post("/v1/traces", content=body, headers={**headers, "x-project-name": f"p{number}"}).status_code
            for number in range(18)
        ]
        bad = http.post("/v1/traces", content=body, headers={**headers, "x-project-name": "<p>"})

    assert answers == [200] * 16 + [429] * 2
    assert bad.status_code == 400


def test_metrics_and_logs_are_told_what_is_kept(server: LocalServer) -> None:
    """A sender of metrics gets status 404 and the reason that only traces are kept."""
    answer = httpx.post(f"{server.url}/v1/metrics", content=b"{}", headers={"content-type": "application/json"})

    assert (answer.status_code, "traces only" in answer.text) == (404, True)
