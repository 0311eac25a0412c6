"""Making a run's span current in its body (a tool's function, a node, a lambda).

LangChain and LangGraph set the configuration of a body in a copy of the caller's context. The body runs in this copy,
which is dropped afterwards. Our span is made current in the same copy, so nothing has to be restored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, attach, get_current

from pandaprobe_otel.mapping.attributes import CANCELLED, OUTCOME
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._runs import OPEN_RUNS, RUN_KEY, Run

SETTER = "_set_config_context"
"""Name of a function in `langchain_core.runnables.config` and in `langgraph._internal._runnable`.

Its first argument is a config.
"""


def entering_body(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap SETTER."""
    result = wrapped(*args, **kwargs)
    guarded(_attach, args[0] if args else kwargs.get("config"))
    return result


def retrieving(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap `BaseRetriever.invoke`, whose body runs in the caller's context, and restore that context afterwards."""
    before = get_current()
    try:
        return wrapped(*args, **kwargs)
    finally:
        guarded(_leave, before)


async def retrieving_async(
    wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Wrap `BaseRetriever.ainvoke`."""
    before = get_current()
    try:
        return await wrapped(*args, **kwargs)
    finally:
        guarded(_leave, before)


def _leave(before: Context) -> None:
    """Leave the context of a retriever whose run is still open.

    LangChain does not report a cancellation or interrupt.
    """
    inside = get_current()
    if inside is before:
        return
    attach(before)
    run = inside.get(RUN_KEY)
    if not isinstance(run, Run) or run is before.get(RUN_KEY) or OPEN_RUNS.take(run.run_id) is None:
        return
    for each in (*OPEN_RUNS.take_below(run, lambda below: below.is_torn_down), run):
        guarded(each.release_model_call)
        if each.span is not None:
            each.span.set_attribute(OUTCOME, CANCELLED)
            each.span.end()


def _attach(config: Any) -> None:
    callbacks = config.get("callbacks") if isinstance(config, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    run = OPEN_RUNS.get(getattr(callbacks, "parent_run_id", None))  # pyright: ignore[reportUnknownArgumentType]
    if run is not None and get_current().get(RUN_KEY) is not run:
        attach(run.context)
