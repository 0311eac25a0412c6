"""GenAI metrics: each model call counted once, with the tokens in the trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

import captures
import pandaprobe_otel
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.sdk.genai_metrics import GenAIMetricsProcessor
from rings import IN_FULL

DURATION = "gen_ai.client.operation.duration"
TOKENS = "gen_ai.client.token.usage"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2026-01-01",
    "server.address": "api.openai.com",
    "server.port": 443,
}


def points(reader: InMemoryMetricReader, name: str) -> list[HistogramDataPoint]:
    """Return the data points of one histogram."""
    data: Any = reader.get_metrics_data()
    if data is None:
        return []
    metrics = [one for resource in data.resource_metrics for scope in resource.scope_metrics for one in scope.metrics]
    return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


def tokens(reader: InMemoryMetricReader) -> dict[str, float]:
    """Return the sums of tokens, by type."""
    sums = {"input": 0.0, "output": 0.0}
    for point in points(reader, TOKENS):
        sums[str((point.attributes or {})["gen_ai.token.type"])] += point.sum
    return sums


def mapped_tokens(trace: dict[str, Any]) -> tuple[int, int]:
    """Return the prompt and completion tokens of a mapped trace."""
    usages = [span.get("token_usage") or {} for span in trace["spans"]]
    return sum(one.get("prompt_tokens", 0) for one in usages), sum(one.get("completion_tokens", 0) for one in usages)


def replay(spans: Sequence[ReadableSpan], processor: GenAIMetricsProcessor) -> None:
    """Start and end the recorded spans in the order of their times."""
    starts = [(span.start_time or 0, 0, number, span) for number, span in enumerate(spans)]
    ends = [(span.end_time, 1, -number, span) for number, span in enumerate(spans) if span.end_time is not None]
    for _, is_end, _, span in sorted(starts + ends, key=lambda each: each[:3]):
        processor.on_end(span) if is_end else processor.on_start(span)  # type: ignore[arg-type]


@pytest.fixture
def reader() -> InMemoryMetricReader:
    """Return a reader for the test's meter provider."""
    return InMemoryMetricReader()


@pytest.fixture
def tracer_provider(reader: InMemoryMetricReader) -> Iterator[TracerProvider]:
    """Yield a provider with the metrics processor."""
    provider = TracerProvider()
    provider.add_span_processor(GenAIMetricsProcessor(MeterProvider([reader])))
    yield provider
    provider.shutdown()


SCENARIOS = sorted({name.partition("__")[2] for name in captures.names()})
TWO_CALLS = {"openinference_adk__agent_tool"}
"""Captures with two calls in one span: only log records, which the metrics do not read, have the tokens of both."""
QUICK = {"rag", "sequential", "messages_stream", "chat_error_429"}


@pytest.mark.parametrize("scenario", [pytest.param(each, marks=() if each in QUICK else IN_FULL) for each in SCENARIOS])
def test_tokens_are_those_of_the_trace(scenario: str) -> None:
    """The tokens in the metrics equal those of the mapped trace, for all instrumentations that record a call."""
    for name in captures.names():
        if name.partition("__")[2] != scenario:
            continue
        reader, recording = InMemoryMetricReader(), captures.capture(name)
        processor = GenAIMetricsProcessor(MeterProvider([reader]))
        for spans in recording.traces:
            replay(spans, processor)
        logs = () if name in TWO_CALLS else recording.logs
        expected = [mapped_tokens(map_trace(spans, logs)) for spans in recording.traces]
        assert list(tokens(reader).values()) == [sum(side) for side in zip(*expected, strict=True)], name


def test_a_call_has_the_attributes_of_the_conventions(
    tracer_provider: TracerProvider, reader: InMemoryMetricReader
) -> None:
    """Duration, tokens and time to first chunk have the model, the provider, the operation and the server."""
    tracer = tracer_provider.get_tracer("app")
    span = tracer.start_span("chat", attributes=CHAT, start_time=1_000_000_000)
    span.set_attributes({"gen_ai.usage.input_tokens": 120, "gen_ai.usage.output_tokens": 30})
    span.set_attribute("gen_ai.response.time_to_first_chunk", 0.25)
    span.end(3_500_000_000)
    [duration], [first] = points(reader, DURATION), points(reader, FIRST_CHUNK)
    assert (dict(duration.attributes or {}), duration.sum) == (CHAT, 2.5)
    assert (dict(first.attributes or {}), first.sum) == (CHAT, 0.25)
    assert tokens(reader) == {"input": 120, "output": 30}
    assert tuple(duration.explicit_bounds[:3]) == (0.01, 0.02, 0.04)


def test_failed_calls_name_the_error(tracer_provider: TracerProvider, reader: InMemoryMetricReader) -> None:
    """The duration of a failed call has the type of its error, and no tokens are recorded."""
    with pytest.raises(TimeoutError), tracer_provider.get_tracer("app").start_as_current_span("chat", attributes=CHAT):
        raise TimeoutError("no answer in 8 s")
    [duration] = points(reader, DURATION)
    assert (duration.attributes or {})["error.type"] == "TimeoutError"
    assert points(reader, TOKENS) == points(reader, FIRST_CHUNK) == []


def test_tools_and_agents_are_no_model_calls(tracer_provider: TracerProvider, reader: InMemoryMetricReader) -> None:
    """Tools, agents and HTTP requests are not measured."""
    tracer = tracer_provider.get_tracer("app")
    for operation in ("invoke_agent", "execute_tool"):
        tracer.start_span("step", attributes={"gen_ai.operation.name": operation}).end()
    tracer.start_span("GET /", attributes={"http.request.method": "GET"}).end()
    assert points(reader, DURATION) == []


def test_content_is_neither_read_nor_a_dimension(tracer_provider: TracerProvider, reader: InMemoryMetricReader) -> None:
    """Messages of a call are not in the metrics, and the call is still measured."""
    messages = '[{"role": "user", "parts": [{"type": "text", "content": "' + "secret " * 100_000 + '"}]}]'
    tracer_provider.get_tracer("app").start_span("chat", attributes={**CHAT, "gen_ai.input.messages": messages}).end()
    assert "secret" not in str(points(reader, DURATION)) != "[]"


def test_init_records_with_the_given_provider(reader: InMemoryMetricReader) -> None:
    """`init(meter_provider=...)` measures calls, and a later `init` without it does not."""
    pandaprobe_otel.shutdown()  # ends the pipeline of an earlier test
    provider = TracerProvider()
    options: dict[str, Any] = {"local": "/dev/null", "tracer_provider": provider, "instrument": False}
    handle = pandaprobe_otel.init(meter_provider=MeterProvider([reader]), **options)
    provider.get_tracer("app").start_span("chat", attributes=CHAT).end()
    assert [point.count for point in points(reader, DURATION)] == [1]
    handle.shutdown()
    second = pandaprobe_otel.init(**options)
    provider.get_tracer("app").start_span("chat", attributes=CHAT).end()
    assert [point.count for point in points(reader, DURATION)] == [1]
    second.shutdown()


def test_spans_that_never_end_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parents of open spans are remembered up to a bound, and calls beyond it are still counted."""
    monkeypatch.setattr("pandaprobe_otel.sdk.genai_metrics._MAX_OPEN_SPANS", 3)
    reader, provider = InMemoryMetricReader(), TracerProvider()
    processor = GenAIMetricsProcessor(MeterProvider([reader]))
    provider.add_span_processor(processor)
    spans = [provider.get_tracer("app").start_span("chat", attributes=CHAT) for _ in range(5)]
    assert len(processor._parents) == 3
    for span in spans:
        span.end()
    assert [point.count for point in points(reader, DURATION)] == [5]
    assert not processor._parents
    provider.shutdown()
