"""The body of a run (a tool's function, a node, a lambda) runs in the context of the run's span.

LangChain and LangGraph set the configuration of a body in a copy of the caller's context, in which the body then
runs and which is thrown away after it. That is where our span is made current too; nothing has to be put back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import attach, get_current

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._runs import OPEN_RUNS, RUN_KEY

SETTER = "_set_config_context"
"""The function of `langchain_core.runnables.config` and of `langgraph._internal._runnable`; it takes a config first."""


def entering_body(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps SETTER."""
    result = wrapped(*args, **kwargs)
    guarded(_attach, args[0] if args else kwargs.get("config"))
    return result


def _attach(config: Any) -> None:
    callbacks = config.get("callbacks") if isinstance(config, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    run = OPEN_RUNS.get(getattr(callbacks, "parent_run_id", None))  # pyright: ignore[reportUnknownArgumentType]
    if run is not None and get_current().get(RUN_KEY) is not run:
        attach(run.context)
