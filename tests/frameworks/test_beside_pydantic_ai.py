"""Other vendors' libraries beside ours: one span for each call, its tokens once, and no trace more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from framework_cases import run_beside_another_vendor
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from weather_model import weather_model

TRACES = {"openai": 3, "anthropic": 4, "openai_agents": 1, "pydantic_ai": 2, "langchain": 3}
"""The number of traces of each library's calls (`beside_pydantic_ai_rival.py`)."""
OF_LANGSMITH = {"anthropic": 3, "openai_agents": 2}
"""LangSmith's wrapper cannot stream from this version of anthropic; its processor makes the root a trace of its own."""
UNENDED = {("openllmetry", "anthropic"): ["anthropic.messages.create"]}
"""OpenLLMetry may never end its span of a stream from anthropic 2.16; the client's own span below it is sent."""
TOOLS = {"openai_agents": 1, "pydantic_ai": 2, "langchain": 3}


VENDORS = {
    "langfuse": "openai langchain",
    "langsmith": "openai anthropic langchain openai_agents",
    "logfire": "openai anthropic openai_agents pydantic_ai",
    "nobody": "pydantic_ai",
    "openinference": "openai anthropic",
    "openllmetry": "openai anthropic",
    "opentelemetry": "openai anthropic",
}
"""The libraries whose calls each vendor records."""


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize(("vendor", "library"), [(name, each) for name in VENDORS for each in VENDORS[name].split()])
def test_each_call_is_recorded_once(
    vendor: str, library: str, first: str, model: Callable[[Script], ScriptedEndpoint], tmp_path: Path
) -> None:
    """Whichever was set up first, each call is one span with its tokens, and each run one trace."""
    endpoint, path = model(weather_model), tmp_path / "traces.jsonl"
    run_beside_another_vendor("beside_pydantic_ai", vendor, library, first, endpoint.url, path)
    traces = [json.loads(line) for line in path.read_text().splitlines()]
    spans = [span for trace in traces for span in trace["spans"]]
    expected = {**TRACES, **OF_LANGSMITH} if vendor == "langsmith" else TRACES
    assert len(traces) == expected[library], [trace["name"] for trace in traces]
    calls = [span for span in spans if span["kind"] == "LLM"]
    assert len(calls) == len(endpoint.exchanges), [(span["name"], span["metadata"].get("scope")) for span in calls]
    assert [span["name"] for span in calls if span["status"] == "ERROR"] == []
    counted = [span["token_usage"]["total_tokens"] for span in spans if span.get("token_usage")]
    assert counted == [each.usage.prompt_tokens + each.usage.completion_tokens for each in endpoint.exchanges]
    assert len([span for span in spans if span["kind"] == "TOOL"]) == TOOLS.get(library, 0)
    ids = {span["span_id"] for trace in traces for span in trace["spans"]}
    finished = [trace for trace in traces if not trace["metadata"].get("pandaprobe_otel.unfinished")]
    assert [trace["name"] for trace in traces if trace not in finished] in ([], UNENDED.get((vendor, library), []))
    parents = [span.get("parent_span_id") for trace in finished for span in trace["spans"]]
    assert [parent for parent in parents if parent and parent not in ids] == []
