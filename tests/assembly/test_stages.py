"""A trace whose root has ended is finished, whatever the order and number of its spans."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import Span

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.assembly.assembler import Assembler
from pandaprobe_otel.assembly.timing import Timing
from pandaprobe_otel.assembly.trace_buffer import Memory, Stage, TraceSegment
from pandaprobe_otel.mapping.sdk_span import fields_of, span_of
from spans import CHAT, SpanMaker, provider_with
from strict_pandaprobe import Reply, StrictPandaProbe

FEW = Timing(checkpoint_spans=3)
STEPS = ["start", "end", "burst", "end root", "look", "wait", "wait long", "flush"]


def encoded(segment: TraceSegment) -> None:
    """Set what the encoder sets for a segment."""
    memory: Memory = segment.memory
    memory.posted = memory.created = True
    if segment.stage is Stage.FIRST:
        memory.running = True
    if segment.stage is Stage.LAST:
        memory.running = False


@given(
    st.lists(st.sampled_from(["start", "end", "burst", "end root", "look", "wait", "wait long", "flush"]), max_size=20)
)
@settings(max_examples=200)
def test_the_part_with_the_end_of_the_root_finishes_the_trace(steps: list[str]) -> None:
    """The segment with the root's end finishes the trace, and every span is sent once, in any order of events."""
    assembler, maker = Assembler(timing=FEW, counts_starts=True, max_bytes=1 << 30), SpanMaker()
    now, count = 0.0, 0
    segments: list[TraceSegment] = []
    root = maker.start("root")
    assembler.started(root, now)
    open_spans: list[Span] = []

    def take(made: object) -> None:
        for segment in made:  # type: ignore[attr-defined]
            encoded(segment)
            segments.append(segment)

    def end(span: Span) -> None:
        assembler.ended(fields_of(maker.end(span)), now)

    for step in [*steps, "end root"]:
        if step == "start":
            count += 1
            open_spans.append(maker.start(f"s{count}", root))
            assembler.started(open_spans[-1], now)
        elif step == "burst":
            for _ in range(3):
                count += 1
                child = maker.start(f"s{count}", root)
                assembler.started(child, now)
                end(child)
        elif step == "end" and open_spans:
            end(open_spans.pop(0))
        elif step == "end root" and root.is_recording():
            end(root)
        elif step == "look":
            take(assembler.due(now))
        elif step == "flush":
            take(assembler.flush(now))
        elif step.startswith("wait"):
            now += 31.0 if step == "wait long" else 0.2
            take(assembler.due(now))
    for span in open_spans:
        end(span)
    now += 1000.0
    take(assembler.due(now))
    sent = [span_of(span).name for segment in segments for span in segment.ended]
    assert sorted(sent) == sorted(["root", *(f"s{n}" for n in range(1, count + 1))])
    assert not segments[-1].memory.running
    (with_root,) = [segment for segment in segments if any(span_of(span).name == "root" for span in segment.ended)]
    assert with_root.stage is Stage.LAST if segments[0].stage is Stage.FIRST else with_root.stage is Stage.WHOLE


def test_a_long_trace_behind_a_busy_server_is_whole_and_over() -> None:
    """Although every fourth request fails at first, all 5,000 spans and the end of the root arrive."""
    requests = 0

    def busy(method: str, path: str) -> Reply | None:
        nonlocal requests
        requests += 1
        return Reply(status=503) if requests % 4 == 2 else None

    with StrictPandaProbe(persist_lag_s=0.3) as server:
        server.answer = busy
        processor = PandaProbeSpanProcessor(api_key="sk_pp_x", project_name="shop", endpoint=server.url)
        with provider_with(processor) as tracer:
            with tracer.start_as_current_span("run", attributes=CHAT):
                for _ in range(4999):
                    with tracer.start_as_current_span("step", attributes=CHAT):
                        pass
            assert processor.force_flush(120_000)
            status = processor.pipeline.status()
    assert dict(status.spans_dropped) == {}
    (trace,) = server.traces.values()
    assert (trace.fields["status"], len(trace.spans)) == ("COMPLETED", 5000)
    assert len([post for post in server.posts() if post.status == 202]) == 1
