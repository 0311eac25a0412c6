"""OTLP sent to the local server itself: traces as from a gateway, without a second process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.util.types import AttributeValue

from local_http import traces_of
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
    (found,) = (one for one in traces_of(server, project) if one["trace_id"] == trace_id)
    return found


def send(server: LocalServer, **headers: str) -> str:
    """Send a trace of two spans with OpenTelemetry's own exporter, and return its id."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    exporter = OTLPSpanExporter(endpoint=f"{server.url}/v1/traces", headers=headers)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.usage.input_tokens": 7,
    }
    with tracer.start_as_current_span("shop", attributes={"gen_ai.operation.name": "invoke_agent"}) as root:
        tracer.start_span("chat gpt-5", attributes=attributes).end()
    provider.shutdown()
    return str(trace_uuid(root.get_span_context().trace_id))


def test_stopping_delivers_the_traces_that_have_arrived(tmp_path: Path) -> None:
    """Spans exported one by one become one trace of the named project, which a server stores before it stops."""
    path = tmp_path / "traces.db"
    with LocalServer(path, limit=None) as server:
        trace_id = send(server, **{"x-project-name": "orders"})
    with LocalServer(path) as server:
        found = stored(server, trace_id, "orders")
    assert [(span["name"], span["kind"]) for span in found["spans"]] == [("shop", "AGENT"), ("chat gpt-5", "LLM")]
    assert found["spans"][1]["token_usage"]["prompt_tokens"] == 7


def test_an_unknown_key_is_refused_with_auth() -> None:
    """On a server with auth, an unknown key is refused."""
    with LocalServer(auth=True) as server:
        body = json.dumps({"resourceSpans": []})
        headers = {"content-type": "application/json"}
        refused = httpx.post(f"{server.url}/v1/traces", content=body, headers=headers, timeout=60)
        taken = httpx.post(
            f"{server.url}/v1/traces", content=body, headers={**headers, "x-api-key": server.api_key}, timeout=60
        )

    assert (refused.status_code, taken.status_code) == (401, 200)


def test_the_number_of_projects_that_send_is_limited(server: LocalServer) -> None:
    """Each project that sends OTLP has its own threads, so a 17th one gets 429; metrics get 404 with the reason."""
    body, headers = json.dumps({"resourceSpans": []}), {"content-type": "application/json"}
    with httpx.Client(base_url=server.url, timeout=60) as http:
        metrics = http.post("/v1/metrics", content=b"{}", headers={**headers, "x-project-name": "p0"})
        answers = [
            http.post("/v1/traces", content=body, headers={**headers, "x-project-name": f"p{number}"}).status_code
            for number in range(18)
        ]
        bad = http.post("/v1/traces", content=body, headers={**headers, "x-project-name": "<p>"})

    assert answers == [200] * 16 + [429] * 2
    assert bad.status_code == 400
    assert (metrics.status_code, "traces only" in metrics.text) == (404, True)
