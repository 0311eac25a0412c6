"""The open runs of a framework, by their ids, each with its span."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from time import time_ns
from typing import Any, Final, cast

import wrapt
from opentelemetry.context import Context, attach, get_current, set_value
from opentelemetry.trace import Span, set_span_in_context

from pandaprobe_otel.capture.tool_answers import AS_IT_IS, Form, call, call_async, is_replaying
from pandaprobe_otel.capture.trace_context import TraceValues, with_values
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import Content, obj
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import OriginalCall, Wrapper, wrapped_by
from pandaprobe_otel_integrations._spans import ModelClaim, fail, with_claim, without_llm_span

RUN_KEY: Final = "pandaprobe-run"
"""Context key of the run whose body runs in the context."""

_ASKED: Final = (names.SYSTEM_INSTRUCTIONS, names.INPUT_MESSAGES)

MAX_OPEN: Final = 10_000
"""Largest number of open runs. An app that abandons runs would collect more; the oldest ones are then dropped."""


@dataclass(slots=True, eq=False, kw_only=True)
class Run:
    """One run. `span` is None for a run without its own span; its children then belong to its parent."""

    run_id: Any
    parent: Run | None
    context: Context
    """The context in which the children of this run start."""
    name: str = ""
    span: Span | None = None
    is_agent: bool = False
    """True if it is the run of a whole graph."""
    agent: str | None = None
    """Name of the agent that this run is part of."""
    children: set[Run] = field(default_factory=set["Run"])
    """The open runs directly below this run."""
    task: weakref.ref[asyncio.Task[Any]] | None = field(default_factory=lambda: _current_task())
    """The task that started the run; None if it started outside of any task."""
    thread: int = field(default_factory=threading.get_ident)
    started_ns: int = field(default_factory=time_ns)
    answers: bool = False
    """True if the model has started to answer."""
    stopped: str | None = None
    """The outcome of a run below this one that stopped early and has not continued."""
    handling: BaseException | None = field(default_factory=lambda: sys.exc_info()[1])
    """The exception that the app was handling when the run started; it is not a failure of this run."""
    claim: ModelClaim | None = None
    _claimed: Context | None = None
    _before: Context | None = None

    @property
    def is_left_behind(self) -> bool:
        """Return whether the run's task is over. LangChain does not report a cancelled model call."""
        if self.task is None:
            return False
        task = self.task()
        return task is None or task.done()

    @property
    def is_torn_down(self) -> bool:
        """Return whether the run cannot continue while an exception passes through this thread.

        True if the run has a task, which is cancelled too, or if its frames are in this thread. A run in another thread
        continues and ends by itself.
        """
        return self.task is not None or self.thread == threading.get_ident()

    def enter_body(self) -> None:
        """Let the app's code run inside this run from here on, in the caller's task and thread."""
        self._before = get_current()
        attach(self.context)

    def claim_model_call(self) -> None:
        """Claim the model call that follows, in the caller's context, whose current span stays: this run records it."""
        self.claim = ModelClaim()
        self._before = get_current()
        self._claimed = with_claim(self.claim, self._before)
        attach(self._claimed)

    def leave_body(self) -> None:
        """Close the claim, and restore the caller's context, if the claim's, this run or one inside it is current.

        An end that comes from elsewhere, such as another task, finds another current run, and restores nothing.
        """
        if self.claim is not None:
            self.claim.close()
        before, self._before = self._before, None
        current = get_current()
        if before is not None and (current is self._claimed or self in runs_around(current.get(RUN_KEY))):
            attach(before)


def runs_around(run: object) -> Iterator[Run]:
    """Yield a run and the runs around it, the innermost first; nothing for any other value."""
    while isinstance(run, Run):
        yield run
        run = run.parent


class OpenRuns:
    """All open runs, from any handler. Callbacks come from any thread."""

    def __init__(self, limit: int = MAX_OPEN) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._runs: dict[Any, Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._runs

    def get(self, run_id: Any) -> Run | None:
        """Return the open run with this id."""
        return self._runs.get(run_id) if run_id is not None else None

    def add(self, run: Run) -> Run | None:
        """Add a run. If there are too many, return the oldest, which is given up."""
        with self._lock:
            self._runs[run.run_id] = run
            if run.parent is not None:
                run.parent.children.add(run)
            if len(self._runs) <= self._limit:
                return None
            return self._remove(next(iter(self._runs)))

    def take(self, run_id: Any) -> Run | None:
        """Remove a run that has ended and return it; None if it is not open."""
        with self._lock:
            return self._remove(run_id)

    def take_below(self, run: Run, is_over: Callable[[Run], bool]) -> list[Run]:
        """Remove and return the runs below a removed run that end together with it, the deepest first.

        The other runs below it move up to its parent.
        """
        with self._lock:
            found: list[Run] = []
            waiting = [*run.children]
            run.children.clear()
            while waiting:
                child = waiting.pop()
                if is_over(child):
                    waiting.extend(child.children)
                    self._remove(child.run_id)
                    found.append(child)
                else:
                    child.parent = run.parent
                    if run.parent is not None:
                        run.parent.children.add(child)
        return found[::-1]

    def _remove(self, run_id: Any) -> Run | None:
        run = self._runs.pop(run_id, None)
        if run is not None and run.parent is not None:
            run.parent.children.discard(run)
        return run


def _current_task() -> weakref.ref[asyncio.Task[Any]] | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        return None
    return None if task is None else weakref.ref(task)


OPEN_RUNS: Final = OpenRuns()
"""The open runs of this process. A run that two of our handlers report is recorded once."""


class RunRecorder:
    """Records the runs that a framework's callbacks begin and end, each with a span below its parent's.

    `recorder` returns the tracer when it is needed, and None while nothing is recorded. `claims_only` returns True
    while another vendor records the runs: then this only keeps the model clients below from recording the same calls.
    `values` returns session, user, tags and metadata of new traces.
    """

    def __init__(
        self,
        recorder: Callable[[], Recorder | None],
        *,
        claims_only: Callable[[], bool] = lambda: False,
        values: Callable[[], TraceValues | None] = lambda: None,
        runs: OpenRuns | None = None,
    ) -> None:
        super().__init__()
        self._recorder = recorder
        self._claims_only = claims_only
        self._values = values
        self.runs = OpenRuns() if runs is None else runs

    @property
    def _with_content(self) -> bool:
        recorder = self._recorder()
        return recorder is not None and recorder.with_content

    def _base(self, parent: Run | None) -> Context:
        """Return the context in which a run below `parent` starts: the current one, if it is the parent's body."""
        current = get_current()
        return current if parent is None or current.get(RUN_KEY) is parent else parent.context

    def _root(self, base: Context, given: TraceValues | None = None) -> Context:
        """Return a context with the values of a new trace, unless it is inside a run, and with those of the run."""
        is_inside = any(run.span is not None for run in runs_around(base.get(RUN_KEY)))
        for values in (None if is_inside else self._values(), given):
            if values is not None:
                base = with_values(values, base)
        return base

    def _record_agents(self, run: Run, attributes: Mapping[str, Any]) -> None:
        """Keep the input of the first model call and the output of the latest one as those of the agents around it.

        Steps without a span may be between them.
        """
        for above in runs_around(run.parent):
            if above.span is None:
                continue
            if not above.is_agent:
                return
            if names.INPUT_MESSAGES in attributes and not above.answers:
                above.answers = True
                above.span.set_attributes({name: attributes[name] for name in _ASKED if name in attributes})
            if names.OUTPUT_MESSAGES in attributes:
                above.span.set_attribute(names.OUTPUT_MESSAGES, attributes[names.OUTPUT_MESSAGES])

    def _open(self, run: Run) -> Run:
        """Keep a run, whose context is the one that it starts in, and let its children start inside it."""
        inner = run.context if run.span is None else set_span_in_context(run.span, without_llm_span(run.context))
        if run.claim is not None:
            inner = with_claim(run.claim, inner)
        run.context = set_value(RUN_KEY, run, inner)
        self._keep(run)
        return run

    def _keep(self, run: Run) -> None:
        given_up = self.runs.add(run)
        if given_up is not None:
            self._abandon(given_up)

    def _abandon(self, run: Run, outcome: str | None = ours.CANCELLED) -> None:
        """End a removed run that will not report its end."""
        guarded(run.leave_body)
        if run.span is not None:
            if outcome is not None:
                run.span.set_attribute(ours.OUTCOME, outcome)
            guarded(run.span.end)

    def _end(self, run: Run, is_over: Callable[[Run], bool] = lambda child: child.is_left_behind) -> None:
        """End a removed run. The open runs below it that are over end first."""
        for child in self.runs.take_below(run, is_over):
            self._abandon(child)
        guarded(run.leave_body)
        if run.span is not None:
            guarded(run.span.end)

    def _write(self, span: Span | None, content: Callable[[], Content]) -> None:
        """Write messages and values on a span, if they are recorded."""
        recorder = self._recorder()
        if span is not None and recorder is not None:
            recorder.write(span, content)

    def _fail(self, span: Span, kind: str, error: object) -> None:
        """Mark the run as failed. The text of an error may quote content."""
        fail(span, kind, str(error) if self._with_content else kind)


# -- tools of frameworks: in a replay, a recording may answer in place of a tool's function ----------------------------

Wrapped = Callable[..., Any]


class StandIn(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A proxy of an object that replaces the value of one attribute."""

    __wrapped__: Any

    def __init__(self, wrapped: Any, name: str, value: Any) -> None:
        super().__init__(wrapped)  # pyright: ignore[reportUnknownMemberType]
        self._self_name = name
        self._self_value = value

    def __getattr__(self, name: str) -> Any:
        return self._self_value if name == self._self_name else super().__getattr__(name)


def asking(
    function: Wrapped,
    name: str,
    arguments: Callable[[], Mapping[str, Any]],
    form: Form = AS_IT_IS,
    *,
    call_id: Any = None,
) -> Callable[..., Any]:
    """Return a function of the same signature that asks the recording first."""

    known = call_id if isinstance(call_id, str) else None

    def around(original: OriginalCall) -> Any:
        if inspect.iscoroutinefunction(original.function):
            return call_async(name, arguments, original, form, call_id=known)
        return call(name, arguments, original, form, call_id=known)

    return wrapped_by(around, function)


def _as_it_is(_: Any, __: dict[str, Any]) -> Form:
    return AS_IT_IS


def asked(
    attribute: str,
    arguments: Callable[[OriginalCall], Mapping[str, Any]],
    *,
    name: Callable[[Any], str] = lambda tool: str(tool.name),
    form: Callable[[Any, dict[str, Any]], Form] = _as_it_is,
    unless: Callable[[Any], bool] = lambda _: False,
) -> Wrapper:
    """Return a wrapper for the method by which a framework calls a tool.

    Args:
        attribute: The attribute of the tool that the method calls.
        arguments: Returns the model's arguments, from the call of the method.
        name: Returns the tool's name.
        form: Returns the form of the results, from the tool and the method's named arguments.
        unless: Returns True for a tool that must always run.
    """

    def around(original: OriginalCall) -> Any:
        function = getattr(original.owner, attribute, None) if is_replaying() else None
        if function is None or unless(original.owner):
            return original()
        given = asking(
            function,
            name(original.owner),
            lambda: arguments(original),
            form(original.owner, original.kwargs),
            call_id=original.kwargs.get("tool_call_id"),
        )
        return original.on(StandIn(original.owner, attribute, given))

    return around


def json_or_text(result: Any) -> Any:
    """Return a result as the model gets it: as JSON, or as text if JSON has no form for it."""
    try:
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(result)
    return result


def read_json(text: Any) -> Mapping[str, Any]:
    """Return the arguments that a model has written; text that is not a JSON object is returned under one name."""
    try:
        found: Any = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        found = None
    return obj(found) if isinstance(found, Mapping) else {"input": text}


# -- values that the steps of a run pass on ----------------------------------------------------------------------------

Own = Callable[[Any, Callable[[Any], Any]], Any]
"""Returns the form of a framework's own object, made with a function for the values inside it; others unchanged."""

_LEAVES: Final = (str, int, float, bool, bytes)
_DEEPEST: Final = 12
"""Depth below which values are shown as text."""


def plain(value: Any, own: Own, depth: int = 0) -> Any:
    """Return any value in a JSON form: containers item by item, data classes and models by their fields."""
    if value is None or isinstance(value, _LEAVES):
        return value
    if depth > _DEEPEST:
        return _text(value)

    def inside(item: Any) -> Any:
        return plain(item, own, depth + 1)

    if type(value) is not dict and (found := own(value, inside)) is not value:
        return found
    if isinstance(value, Mapping):
        return {str(key): inside(item) for key, item in obj(value).items()}  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [inside(item) for item in cast("Iterable[Any]", value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: inside(getattr(value, each.name, None)) for each in fields(value)}
    members = obj(value)
    return inside(members) if members else _text(value)


def _text(value: Any) -> str:
    # The address in the default `repr` is useless, and makes equal runs differ.
    text = str(value)
    return f"<{type(value).__name__}>" if " at 0x" in text else text


MAX_NOTES: Final = 100
"""Largest number of notes of one kind on one span."""


def note(notes: list[Any], value: Any) -> list[Any]:
    """Return the notes with one more; a marker stands for those that are too many."""
    if len(notes) <= MAX_NOTES:
        notes.append(value if len(notes) < MAX_NOTES else "[and more, not recorded]")
    return notes


# -- conversation ids for objects that remember their messages, in libraries that give them no id ----------------------


class ConversationIds:
    """One id for each living object, without keeping the object alive."""

    def __init__(self) -> None:
        self._ids: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def of(self, remembers: Any) -> str:
        """Return the object's id, 32 hexadecimal digits. Raises TypeError if the object supports no weak references."""
        return self._ids.setdefault(remembers, uuid.uuid4().hex)
