"""The whole pipeline, from OpenTelemetry spans to a server over real HTTP."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from pandaprobe_otel import PandaProbeSpanExporter, PandaProbeSpanProcessor
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.sender_pool import SenderPool
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from pandaprobe_otel.reporting.delivery_status import Status
from spans import CHAT, HTTP, provider_with
from strict_pandaprobe import StrictPandaProbe
from waiting import PATIENCE_S, wait_until


@contextmanager
def traced(server: StrictPandaProbe, **settings: object) -> Iterator[tuple[trace.Tracer, PandaProbeSpanProcessor]]:
    """Yield a tracer whose spans go to the server."""
    arguments = {"api_key": "sk_pp_x", "project_name": "shop", "endpoint": server.url, **settings}
    processor = PandaProbeSpanProcessor(**arguments)  # type: ignore[arg-type]
    with provider_with(processor) as tracer:
        yield tracer, processor


def balanced(status: Status) -> bool:
    """Return whether every ended span is delivered, dropped or pending."""
    return status.spans_ended == status.spans_delivered + sum(status.spans_dropped.values()) + status.spans_pending


def test_a_trace_without_a_genai_span_is_not_sent_and_counted() -> None:
    """A trace without GenAI spans is counted but not sent, since each web request would cost quota."""
    with StrictPandaProbe() as server, traced(server) as (tracer, processor):
        with tracer.start_as_current_span("GET /x", attributes=HTTP):
            pass
        assert processor.force_flush(60_000)
        posts = server.posts()

    assert posts == []
    assert dict(processor.pipeline.status().spans_dropped) == {"filtered": 1}


def test_a_tool_call_is_not_repeated_by_the_mcp_server_in_this_process() -> None:
    """An in-process MCP server's span is left out if the framework's span has the same call, and kept otherwise."""
    served = {"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}
    framework = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "mcp__weather"}
    with StrictPandaProbe() as server, traced(server) as (tracer, processor):
        with (
            tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}),
            tracer.start_as_current_span("execute_tool", attributes=framework) as tool,
            tracer.start_as_current_span("tools/call", kind=trace.SpanKind.SERVER, attributes=served),
            tracer.start_as_current_span("look up"),
        ):
            pass
        with tracer.start_as_current_span("tools/call", kind=trace.SpanKind.SERVER, attributes=served):
            pass
        assert processor.force_flush(60_000)
        agent, alone = sorted(server.posts(), key=lambda post: -len(post.body["spans"]))

    assert [span["name"] for span in agent.body["spans"]] == ["agent", "mcp__weather", "look up"]
    context = tool.get_span_context()
    assert agent.body["spans"][2]["parent_span_id"] == span_uuid(context.trace_id, context.span_id)
    assert [span["kind"] for span in alone.body["spans"]] == ["TOOL"]


def test_a_call_that_two_instrumentations_record_is_one_span() -> None:
    """A call recorded inside itself is one span; the other one is counted, and what ends late below it moves up."""
    call = {**CHAT, "gen_ai.response.id": "r-1"}
    with StrictPandaProbe() as server, traced(server) as (tracer, processor):
        with (
            tracer.start_as_current_span("framework", attributes=call) as outer,
            tracer.start_as_current_span("client", attributes=call),
        ):
            late = tracer.start_span("execute_tool t", attributes={"gen_ai.operation.name": "execute_tool"})
        assert processor.force_flush(60_000)
        late.end()
        assert processor.force_flush(60_000)
        (post,) = server.posts()
        context = outer.get_span_context()
        stored = server.traces[trace_uuid(context.trace_id)].spans

    assert [span["name"] for span in post.body["spans"]] == ["framework"]
    assert stored[span_uuid(context.trace_id, late.get_span_context().span_id)]["parent_span_id"] == span_uuid(
        context.trace_id, context.span_id
    )
    status = processor.pipeline.status()
    assert balanced(status)
    assert status.spans_dropped == {"filtered": 1}


def test_plumbing_inside_a_kept_trace_goes_and_its_children_move_up() -> None:
    """An HTTP span between two spans is left out and its child moves up; an HTTP root stays."""
    with StrictPandaProbe() as server, traced(server) as (tracer, processor):
        with (
            tracer.start_as_current_span("POST /ask", attributes=HTTP),
            tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}) as agent,
            tracer.start_as_current_span("GET", attributes=HTTP),
            tracer.start_as_current_span("chat m", attributes=CHAT),
        ):
            pass
        assert processor.force_flush(60_000)
        (post,) = server.posts()

    spans = {span["name"]: span for span in post.body["spans"]}
    context = agent.get_span_context()
    assert list(spans) == ["POST /ask", "agent", "chat m"]
    assert spans["chat m"]["parent_span_id"] == span_uuid(context.trace_id, context.span_id)
    assert processor.pipeline.status().spans_dropped == {"filtered": 1}


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("agent_framework", "edge_group.process SingleEdgeGroup"),
        ("agent_framework", "message.send"),
        ("gcp.vertex.agent", "execute_tool (merged)"),
    ],
)
def test_internal_spans_of_a_framework_are_left_out(scope: str, name: str) -> None:
    """A framework's internal span is left out and its children move up; another scope's span of that name stays."""
    with StrictPandaProbe() as server:
        processor = PandaProbeSpanProcessor(api_key="sk_pp_x", project_name="shop", endpoint=server.url)
        provider = TracerProvider()
        provider.add_span_processor(processor)
        tracer, frameworks = provider.get_tracer("app"), provider.get_tracer(scope)
        with (
            tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}) as agent,
            frameworks.start_as_current_span(name),
            tracer.start_as_current_span(name),
        ):
            pass
        assert processor.force_flush(60_000)
        provider.shutdown()
        (post,) = server.posts()

    context = agent.get_span_context()
    (_, below) = post.body["spans"]
    assert (below["name"], below["parent_span_id"]) == (name, span_uuid(context.trace_id, context.span_id))
    assert below["metadata"]["scope"] != scope


@pytest.mark.parametrize("spans", ["all", lambda span: span.name != "noise"], ids=["all", "function"])
def test_spans_are_chosen_by_the_setting(spans: Any) -> None:
    """`spans="all"` turns the filter off, and a function chooses ended spans."""
    with StrictPandaProbe() as server, traced(server, spans=spans) as (tracer, processor):
        with tracer.start_as_current_span("GET /x", attributes=HTTP), tracer.start_as_current_span("noise"):
            pass
        assert processor.force_flush(60_000)

        expected = ["GET /x", "noise"] if spans == "all" else ["GET /x"]
        assert [span["name"] for span in server.posts()[0].body["spans"]] == expected


@pytest.mark.parametrize("decision", [Decision.DROP, Decision.RECORD_ONLY])
def test_an_unsampled_span_is_neither_sent_nor_counted(decision: Decision) -> None:
    """A span that the app's sampler leaves out, or records without sampling it, is neither sent nor counted."""

    class Leaving(Sampler):
        def should_sample(self, *args: object, **kwargs: object) -> SamplingResult:
            return SamplingResult(decision)

        def get_description(self) -> str:
            return "leaves all out"

    with StrictPandaProbe() as server:
        processor = PandaProbeSpanProcessor(api_key="k", endpoint=server.url)
        provider = TracerProvider(sampler=Leaving(), shutdown_on_exit=False)
        provider.add_span_processor(processor)
        with provider.get_tracer("t").start_as_current_span("root", attributes=CHAT):
            pass
        provider.shutdown()

        assert server.log == []
        assert processor.pipeline.status().spans_ended == 0


def test_the_exporter_alone_assembles_traces_from_batches() -> None:
    """Behind a BatchSpanProcessor, the exporter assembles traces from ends alone; the provider's flush sends them."""
    with StrictPandaProbe() as server:
        exporter = PandaProbeSpanExporter(api_key="sk_pp_x", project_name="shop", endpoint=server.url)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        tracer = provider.get_tracer("test")
        for number in range(3):
            with (
                tracer.start_as_current_span(f"root {number}", attributes={"gen_ai.operation.name": "invoke_agent"}),
                tracer.start_as_current_span("chat", attributes=CHAT),
            ):
                pass
        provider.force_flush()
        provider.shutdown()

        assert sorted(post.body["name"] for post in server.posts()) == ["root 0", "root 1", "root 2"]
        assert exporter.pipeline.status().spans_delivered == 6


def test_sample_rate_keeps_a_share_and_counts_the_rest() -> None:
    """`sample_rate` decides by the trace id, as W3C and OpenTelemetry do, so that all processes decide the same."""
    with StrictPandaProbe() as server, traced(server, sample_rate=0.25) as (tracer, processor):
        for _ in range(80):
            with tracer.start_as_current_span("root", attributes=CHAT):
                pass
        assert processor.force_flush(60_000)
        status = processor.pipeline.status()
        sent = [int(post.body["trace_id"].replace("-", ""), 16) for post in server.posts()]

    assert sent
    assert all(trace_id & ((1 << 56) - 1) >= 0.75 * (1 << 56) for trace_id in sent)
    assert status.spans_dropped["sampled_out"] + status.spans_delivered == 80


def test_without_a_key_the_app_goes_on_untraced_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key, the app runs untraced, and one warning names the variable to set."""
    monkeypatch.delenv("PANDAPROBE_API_KEY", raising=False)
    with caplog.at_level(logging.WARNING, "pandaprobe_otel"):
        processor = PandaProbeSpanProcessor(endpoint="https://pandaprobe.example")
        with provider_with(processor) as tracer, tracer.start_as_current_span("root"):
            pass

    assert len(caplog.records) == 1
    assert "PANDAPROBE_API_KEY" in caplog.text
    assert not processor.pipeline.status().enabled


def emit(logger: Any, event_name: str, body: object) -> None:
    """Emit an event within the current span; before version 1.37, the SDK accepts only a record."""
    if "event_name" in signature(logger.emit).parameters:
        logger.emit(event_name=event_name, body=body)
        return
    import opentelemetry.sdk._logs as sdk

    made: Any = sdk.LogRecord  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportPrivateImportUsage]
    logger.emit(made(event_name=event_name, body=body, context=get_current()))


def test_messages_that_travel_as_log_records_join_their_span() -> None:
    """GenAI events of log records become content of their span; other log records are ignored."""
    from pandaprobe_otel.sdk.log_processor import PandaProbeLogProcessor

    with StrictPandaProbe() as server, traced(server) as (tracer, processor):
        logs = LoggerProvider(shutdown_on_exit=False)
        logs.add_log_record_processor(PandaProbeLogProcessor(processor.pipeline))
        logger = logs.get_logger("instrumentation")
        with tracer.start_as_current_span("chat m", attributes=CHAT):
            emit(logger, "gen_ai.user.message", {"content": "Where is it?"})
            emit(logger, "app.event", "not ours")
            answer = {"role": "assistant", "content": "Here."}
            emit(logger, "gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": answer})
        emit(logger, "gen_ai.user.message", {"content": "of no span"})
        assert processor.force_flush(60_000)
        (span,) = server.posts()[0].body["spans"]

    assert span["input"] == {"messages": [{"role": "user", "content": "Where is it?"}]}
    assert span["output"] == {"messages": [{"role": "assistant", "content": "Here."}]}


def test_scores_that_cannot_be_sent_cost_neither_the_worker_nor_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the delivery fails, scores are dropped with one log line, and the next trace is sent."""
    with StrictPandaProbe() as server:
        config = Config.resolve({"api_key": "k", "endpoint": server.url}, environ={})
        pipeline = ExportPipeline(config, counts_starts=True)
        with monkeypatch.context() as patches:
            patches.setattr(SenderPool, "put", lambda *_: 1 / 0)
            for number in range(2_000):
                pipeline.put_score({"trace_id": str(number), "name": "quality", "value": "1"})
            assert pipeline.flush(PATIENCE_S)
            warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        with provider_with(PandaProbeSpanProcessor(pipeline=pipeline)) as tracer:
            with tracer.start_as_current_span("agent", attributes=CHAT):
                pass
            assert pipeline.flush(PATIENCE_S)

        assert len(server.posts()) == 1
    assert len(warnings) == 1
    assert "sending a score" in warnings[0].getMessage()
    assert pipeline.status().scores_dropped == {"internal_error": 2_000}


def test_an_answer_after_the_shutdown_is_counted_once() -> None:
    """A trace whose answer comes after the timeout is first counted as dropped, then as delivered instead."""
    released = threading.Event()
    with StrictPandaProbe(delay=lambda: float(not released.wait(PATIENCE_S))) as server:
        config = Config.resolve({"api_key": "k", "endpoint": server.url, "spans": "all"}, environ={})
        pipeline = ExportPipeline(config, counts_starts=True)
        with provider_with(PandaProbeSpanProcessor(pipeline=pipeline)) as tracer:
            tracer.start_span("root").end()
            assert not pipeline.flush(0.2)
            assert not pipeline.shutdown(0.1)
        before = pipeline.status()
        released.set()
        wait_until(lambda: pipeline.status().spans_delivered == 1)
        after = pipeline.status()

    assert (before.spans_dropped, before.spans_pending) == ({"shutdown": 1}, 0)
    assert (after.spans_dropped, after.spans_pending) == ({}, 0)


def test_a_score_that_cannot_be_sent_any_more_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A score of an unknown trace is lost at shutdown, which logs one line; later scores are counted too."""
    with StrictPandaProbe() as server:
        config = Config.resolve({"api_key": "k", "endpoint": server.url, "shutdown_timeout_s": 0.2}, environ={})
        pipeline = ExportPipeline(config, counts_starts=True)
        pipeline.put_score({"trace_id": str(trace_uuid(1)), "name": "quality", "value": "1"})
        with caplog.at_level(logging.WARNING, "pandaprobe_otel"):
            assert not pipeline.shutdown()
        status = pipeline.status()
        pipeline.put_score({"trace_id": "1", "name": "quality", "value": "1"})

    assert status.scores_dropped == {"shutdown": 1}
    assert pipeline.status().scores_dropped == {"shutdown": 1, "after_shutdown": 1}
    assert "scores dropped: 1 shutdown" in str(status)
    assert caplog.text.count("1 score was not delivered") == 1
