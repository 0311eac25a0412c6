"""Public decorators and blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.capture.factories import SpanFactory
from pandaprobe_otel.capture.handles import SpanHandle, TraceHandle
from pandaprobe_otel.capture.span_plan import SpanPlan
from pandaprobe_otel.capture.trace_context import trace_values
from pandaprobe_otel.process.guard import mistake

trace: Final = SpanFactory(
    "CHAIN",
    TraceHandle,
    "Entry point of a trace. Inside an active trace it makes a child span: a second trace would cost quota.",
    is_trace=True,
)
span: Final = SpanFactory("OTHER", SpanHandle, "Span of the kind `kind=`, OTHER by default.")
agent: Final = SpanFactory("AGENT", SpanHandle, "Run of an agent. A single argument is shown as the question.")
tool: Final = SpanFactory("TOOL", SpanHandle, "Call of a tool. Evaluations read its name and its arguments.")
llm: Final = SpanFactory("LLM", SpanHandle, "Call of a language model.")
chain: Final = SpanFactory("CHAIN", SpanHandle, "Step that calls other steps.")
retriever: Final = SpanFactory("RETRIEVER", SpanHandle, "Look-up of documents.")
embedding: Final = SpanFactory("EMBEDDING", SpanHandle, "Call of an embedding model.")


def start_trace(
    name: str,
    *,
    input: Any = None,
    session_id: str | None = None,
    user_id: str | None = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **others: Any,
) -> TraceHandle:
    """Return a trace to be entered with `with` or `async with`.

    Inside an active trace it is a child span of that trace, because a second trace would cost quota.

    Args:
        name: Name of the trace and of its root span.
        input: Input of the trace. If None, `set_input` can set it later.
        session_id: Session of the trace, also for everything called inside.
        user_id: User of the trace, also for everything called inside.
        tags: Tags of the trace.
        metadata: Metadata of the trace.
        **others: Accepted and ignored, as by the official SDK; one warning is logged.
    """
    if others:
        ignored = ", ".join(sorted(others))
        mistake(f"start_trace() has no argument {ignored}, and ignores it, as the official SDK does.")
    values = trace_values(session=session_id, user=user_id, tags=tags, metadata=metadata)
    handle = TraceHandle(SpanPlan(name, kind="CHAIN", is_trace=True, values=values))
    if input is not None:
        handle.set_input(input)
    return handle
