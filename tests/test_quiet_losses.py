"""Spans and parts of spans that OpenTelemetry leaves out before they reach this library: each is counted and named."""

from __future__ import annotations

from pathlib import Path

from subprocesses import environment, run_python


def test_an_agent_below_an_unsampled_parent_is_counted_and_named(tmp_path: Path) -> None:
    """Each span that the caller's decision leaves out counts as `sampled_by_parent`; one line names the remedy."""
    code = """
    from opentelemetry import context, propagate
    from pandaprobe_otel import agent, tool
    @tool
    def one(): return 1
    @agent
    def run(): return one()
    run()
    header = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
    token = context.attach(propagate.extract(header))
    run()
    run()
    context.detach(token)
    handle.shutdown()
    status = handle.status()
    print(status.spans_ended, status.spans_delivered, status.spans_dropped)
    """
    result = run_python(code, environment(PANDAPROBE_LOCAL=str(tmp_path / "t.jsonl")))
    assert result.stdout == "6 2 {'sampled_by_parent': 4}\n", result.stderr[-2000:]
    assert result.stderr.count("OTEL_TRACES_SAMPLER=always_on") == 1


def test_evicted_attributes_are_named_once_and_our_provider_evicts_none(tmp_path: Path) -> None:
    """The provider of `init()` keeps every attribute; another provider's limit is named with its variable, once."""
    code = """
    from opentelemetry.sdk.trace import TracerProvider
    from pandaprobe_otel import PandaProbeSpanProcessor
    def chat(tracer):
        with tracer.start_as_current_span("chat", attributes=CHAT) as span:
            for n in range(5000):
                span.set_attribute(f"llm.input_messages.{n}.message.content", "m")
        return span.attributes
    print(len(chat(tracer)))
    handle.shutdown()
    mine = TracerProvider()
    mine.add_span_processor(PandaProbeSpanProcessor())
    for _ in range(2):
        print(len(chat(mine.get_tracer("test"))))
    mine.shutdown()
    """
    result = run_python(code, environment(PANDAPROBE_LOCAL=str(tmp_path / "t.jsonl")))
    assert result.stdout == "5002\n128\n128\n", result.stderr[-2000:]
    assert result.stderr.count("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT") == 1
