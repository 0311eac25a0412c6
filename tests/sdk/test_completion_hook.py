"""The completion hook, through which PandaProbe gets messages that other exporters of the same spans do not get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pandaprobe_otel
from pandaprobe_otel.process.guard import mistakes
from pandaprobe_otel.sdk.completion_hook import HOOK, PandaProbeCompletionHook

ASKED = [{"role": "user", "parts": [{"type": "text", "content": "Where is order 17?"}]}]
ANSWERED = [{"role": "assistant", "parts": [{"type": "text", "content": "On its way."}], "finish_reason": "stop"}]


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    """Yield a provider whose traces go to `traces.jsonl`, with the hook chosen in the environment."""
    monkeypatch.setenv(HOOK, "pandaprobe")
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)
    pandaprobe_otel.shutdown()  # ends the pipeline of an earlier test
    provider = TracerProvider()
    handle = pandaprobe_otel.init(local=tmp_path / "traces.jsonl", tracer_provider=provider, instrument=False)
    yield provider
    handle.shutdown()


def content_of(path: Path) -> tuple[Any, Any]:
    """Return the input and output messages of the only span."""
    [span] = json.loads(path.read_text(encoding="utf-8"))["spans"]
    return span["input"]["messages"], span["output"]["messages"]


def test_content_reaches_pandaprobe_only(provider: TracerProvider, tmp_path: Path) -> None:
    """PandaProbe's span has the messages, and another exporter's span does not."""
    other = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(other))
    with provider.get_tracer("app").start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}) as span:
        hook = PandaProbeCompletionHook()
        hook.on_completion(inputs=ASKED, outputs=ANSWERED, system_instruction=[], span=span, log_record=None)
    assert pandaprobe_otel.flush()
    asked, answered = content_of(tmp_path / "traces.jsonl")
    assert asked == [{"role": "user", "content": "Where is order 17?"}]
    assert answered[0]["content"] == "On its way."
    assert dict(other.get_finished_spans()[0].attributes or {}) == {"gen_ai.operation.name": "chat"}


def test_without_init_it_says_so() -> None:
    """A hook without a pipeline is logged once, with the variable's name."""
    with TracerProvider().get_tracer("app").start_as_current_span("chat") as span:
        for _ in range(2):
            PandaProbeCompletionHook().on_completion(inputs=ASKED, outputs=[], system_instruction=[], span=span)
    assert [HOOK in told for told in mistakes()].count(True) == 1


@pytest.mark.outer
def test_the_official_library_loads_and_calls_it(provider: TracerProvider, tmp_path: Path) -> None:
    """`opentelemetry-util-genai` loads the hook by its entry point and passes its own message types."""
    from opentelemetry.util.genai.completion_hook import load_completion_hook
    from opentelemetry.util.genai.handler import TelemetryHandler
    from opentelemetry.util.genai.types import InputMessage, OutputMessage, Text, ToolCallRequestPart

    handler = TelemetryHandler(tracer_provider=provider, completion_hook=load_completion_hook())
    assert handler.should_capture_content()
    call = handler.inference("openai", request_model="gpt-5-mini")
    call.input_messages = [InputMessage(role="user", parts=[Text(content="Where is order 17?")])]
    wish = ToolCallRequestPart(arguments={"number": 17}, name="look_up_order", id="call_1")
    call.output_messages = [OutputMessage(role="assistant", parts=[wish], finish_reason="tool_calls")]
    call.stop()
    assert pandaprobe_otel.flush()
    asked, answered = content_of(tmp_path / "traces.jsonl")
    assert asked == [{"role": "user", "content": "Where is order 17?"}]
    assert answered[0]["tool_calls"][0]["function"]["name"] == "look_up_order"
