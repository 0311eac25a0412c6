"""The names that users import."""

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
    "The entry point of a trace. Inside an active trace it makes a child span: a second trace would cost quota.",
    is_trace=True,
)
span: Final = SpanFactory("OTHER", SpanHandle, "A span of the kind `kind=`, OTHER by default.")
agent: Final = SpanFactory("AGENT", SpanHandle, "A run of an agent. One argument is shown as it is, as the question.")
tool: Final = SpanFactory("TOOL", SpanHandle, "A call of a tool; its name and its arguments are what is evaluated.")
llm: Final = SpanFactory("LLM", SpanHandle, "A call of a language model.")
chain: Final = SpanFactory("CHAIN", SpanHandle, "A step that calls other steps.")
retriever: Final = SpanFactory("RETRIEVER", SpanHandle, "A look-up of documents.")
embedding: Final = SpanFactory("EMBEDDING", SpanHandle, "A call of an embedding model.")


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

    Inside an active trace it is a child span of that trace: a second trace would cost quota.

    Args:
        name: Name of the trace and of its root span.
        input: Input of the trace; None: it can be set later with `set_input`.
        session_id: Session of the trace, also for everything called inside.
        user_id: User of the trace, likewise.
        tags: Tags of the trace.
        metadata: Metadata of the trace.
        **others: Taken and ignored, as by the official SDK, which is told once.
    """
    if others:
        ignored = ", ".join(sorted(others))
        mistake(f"start_trace() ignores {ignored}, as the official SDK does: it takes no such argument.")
    values = trace_values(session=session_id, user=user_id, tags=tags, metadata=metadata)
    handle = TraceHandle(SpanPlan(name, kind="CHAIN", is_trace=True, values=values))
    if input is not None:
        handle.set_input(input)
    return handle
