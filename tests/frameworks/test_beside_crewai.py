"""CrewAI with other sources of spans: litellm, which calls models that CrewAI has no client for, and rivals."""

from __future__ import annotations

import pandaprobe_otel
from agent_traces import SentTraces, tokens_of
from framework_cases import StartModel, run_beside_another_vendor
from pandaprobe_otel.local import LocalServer
from weather_crews import model_of, station
from weather_model import weather_model


def test_each_call_is_one_span(traces: SentTraces, model: StartModel) -> None:
    """A model call through litellm is one span, made by our litellm integration, below the agent."""
    endpoint = model(weather_model)
    station(model_of(endpoint, is_litellm=True), "Weather in Oslo?").kickoff()

    trace = traces.one()
    assert [span["kind"] for span in trace.spans] == ["CHAIN", "CHAIN", "AGENT", "LLM", "TOOL", "LLM"]
    assert trace.body["total_tokens"] == tokens_of(endpoint.exchanges)
    assert {span["parent_span_id"] for span in trace.all("LLM")} == {trace.only("AGENT")["span_id"]}


def test_without_the_integration_of_litellm(traces: SentTraces, model: StartModel) -> None:
    """Without the litellm integration, CrewAI's events make the spans; an answer with tool calls then has no output."""
    pandaprobe_otel.uninstrument("litellm")
    try:
        station(model_of(model(weather_model), is_litellm=True), "Weather in Oslo?").kickoff()
    finally:
        pandaprobe_otel.instrument("litellm")

    trace = traces.one()
    asks, answers = trace.all("LLM")
    assert ("output" in asks, answers["output"]["messages"][0]["content"]) == (False, "The station says: snowy")
    assert {span["status"] for span in trace.spans} == {"OK"}


LISTENING = "openinference.instrumentation.crewai"
WRAPPING = "opentelemetry.instrumentation.crewai"
CLIENT = "pandaprobe_otel.openai"


def test_other_vendors_instrumentation_counts_once(server: LocalServer, traces: SentTraces, model: StartModel) -> None:
    """Runs are the rival's spans. Each model call is one span: the rival's if it makes any, otherwise the client's."""
    endpoint = model(weather_model)
    ways = [LISTENING, f"{LISTENING}:use_event_listener", WRAPPING]
    done = run_beside_another_vendor("crewai", server.url, server.api_key, endpoint.base_url, *ways)
    for vendor, count in {"OpenInference": 2, "OpenLLMetry": 1}.items():
        assert done.stderr.count(f"skipped: {vendor} records these calls") == count

    tokens = tokens_of(endpoint.exchanges)
    found = traces.new(3)
    assert [trace.body["total_tokens"] for trace in found] == [tokens / 3] * 3
    for trace, vendor, caller in zip(found, (LISTENING, LISTENING, WRAPPING), (CLIENT, LISTENING, CLIENT), strict=True):
        calls = trace.all("LLM")
        assert len(calls) == 2, str(trace)
        assert all(span["metadata"]["scope"].startswith(caller) for span in calls), str(trace)
        others = [span for span in trace.spans if span not in calls]
        assert all(span["metadata"]["scope"].startswith(vendor) for span in others), str(trace)
