"""Additions to Agent Framework's spans of workflows: inputs and outputs of runs and executors."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.trace import get_current_span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded

from .values import handed_on, plain

_RUN: Final = "workflow.run"
_STEP: Final = "executor.process"
_NAME: Final = "workflow.name"


class WorkflowRun:
    """One run, with its outputs so far."""

    def __init__(self, span: Any, outer: WorkflowRun | None) -> None:
        self.span = span
        self.outer = outer
        self.yielded: list[Any] = []

    def __call__(self) -> WorkflowRun | None:
        """Return this run, or the run around it if this one is over."""
        run: WorkflowRun | None = self
        while run is not None and not run.span.is_recording():
            run = run.outer
        return run


_CURRENT: Final[ContextVar[WorkflowRun | None]] = ContextVar("pandaprobe_agent_framework_run", default=None)
"""The run that the code belongs to. Executors work in tasks of a run."""


def _current() -> WorkflowRun | None:
    run = _CURRENT.get()
    return None if run is None else run()


class ReportingTracer:
    """Agent Framework's tracer, which also reports the runs that it starts."""

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracer, name)

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Start a span as OpenTelemetry's tracer does."""
        span = self._tracer.start_span(name, *args, **kwargs)
        if name == _RUN and span.is_recording():
            guarded(_run_begins, span)
        return span

    def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        """Start a current span as OpenTelemetry's tracer does. Older versions make a run's span with this method."""
        block: AbstractContextManager[Any] = self._tracer.start_as_current_span(name, *args, **kwargs)
        return _of_run(block) if name == _RUN else block


@contextmanager
def _of_run(block: AbstractContextManager[Any]) -> Generator[Any]:
    with block as span:
        if span.is_recording():
            guarded(_run_begins, span)
        yield span


class WorkflowHooks:
    """Wrappers in wrapt's form. While `is_on` is False, they only pass calls on.

    `with_content` is the framework's switch.
    """

    def __init__(self, *, is_on: Callable[[], bool], with_content: Callable[[], bool]) -> None:
        self._is_on = is_on
        self._with_content = with_content

    def tracer(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap `workflow_tracer`."""
        tracer = wrapped(*args, **kwargs)
        return ReportingTracer(tracer) if self._is_on() else tracer

    def execute(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap `Executor.execute`. The input of a run's first executor is the input of the run."""
        if self._is_on() and self._with_content():
            guarded(_run_is_given, args[0] if args else kwargs.get("message"))
        return wrapped(*args, **kwargs)

    def event(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the function that all events of a run pass, in the context of their executor."""
        if self._is_on():
            guarded(self._record, args[0] if args else kwargs.get("event"))
        return wrapped(*args, **kwargs)

    def _record(self, event: Any) -> None:
        kind, run = str(event.type), _current()
        if kind == "output" and run is not None:
            run.yielded.append(event.data)
        if not kind.startswith("executor_"):
            return
        span: Any = get_current_span()
        if not span.is_recording() or not span.name.startswith(_STEP):
            return
        span.set_attribute(ours.KIND, "CHAIN")
        if not self._with_content():
            return
        if kind == "executor_invoked":
            span.set_attributes(encoded({ours.INPUT: plain(event.data)}))
        elif kind == "executor_completed":
            span.set_attributes(encoded({ours.OUTPUT: handed_on(event.data or [])}))
            if run is not None and run.yielded:
                run.span.set_attributes(encoded({ours.OUTPUT: handed_on(run.yielded)}))


def _run_begins(span: Any) -> None:
    span.set_attribute(ours.KIND, "CHAIN")
    name = span.attributes.get(_NAME)
    if name and span.parent is None and ours.TRACE_NAME not in span.attributes:
        span.set_attribute(ours.TRACE_NAME, name)
    _CURRENT.set(WorkflowRun(span, _current()))


def _run_is_given(message: Any) -> None:
    span: Any = get_current_span()
    if span.is_recording() and span.name == _RUN and ours.INPUT not in span.attributes:
        span.set_attributes(encoded({ours.INPUT: plain(getattr(message, "data", message))}))
