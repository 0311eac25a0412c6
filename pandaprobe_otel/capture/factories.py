"""`trace`, `span` and the other decorators: each is one object that decorates functions and makes blocks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, cast, overload

from opentelemetry.context import get_current

from pandaprobe_otel.capture.handles import SpanHandle, TraceHandle
from pandaprobe_otel.capture.open_span import SpanPlan, kind_of
from pandaprobe_otel.capture.tool_answers import answered
from pandaprobe_otel.capture.wrapping import NO_SCOPE, Block, F, Scope, wrap
from pandaprobe_otel.process.guard import mistake, unless_used

H = TypeVar("H", bound=SpanHandle)

NOT_GIVEN: Final[Any] = object()


class SpanBlock(Block[H, H]):
    """The result of `span("name", ...)`: a `with` block, an `async with` block or a decorator.

    It may be entered many times, also by several tasks at once. Each entry makes a new span.
    """

    __slots__ = ("__weakref__", "_handle_class", "_input", "_key", "_open", "_options", "_plan", "_unused")

    def __init__(self, handle_class: type[H], *, input: Any = NOT_GIVEN, **options: Any) -> None:
        self._options = options
        self._input = input
        plan = self._plan = SpanPlan(**options)
        self._handle_class = handle_class
        self._key = f"pandaprobe-block-{id(self)}"
        self._open: list[SpanHandle] = []
        self._unused: object = unless_used(self, lambda: f"the span {plan.name!r}")

    def __call__(self, function: F) -> F:
        """Decorate a function or method."""
        self._unused = None
        if self._input is not NOT_GIVEN:
            name = getattr(function, "__qualname__", type(function).__qualname__)
            mistake(f"input= of the decorator of {name} is ignored: the arguments of each call are the input.")
        return decorate(function, **self._options)

    def _new_scope(self) -> H:
        self._unused = None
        handle = self._handle_class(self._plan, key=self._key, together=self._open)
        if self._input is not NOT_GIVEN:
            handle.set_input(self._input)
        return handle

    def _given(self, scope: H) -> H:
        return scope

    def _innermost(self) -> Scope:
        """Return the current open handle: the one in the context, unless somebody replaced it."""
        handle: Any = get_current().get(self._key)
        if handle is not None and handle in self._open:
            return handle  # type: ignore[no-any-return]
        return self._open[-1] if self._open else NO_SCOPE


class SpanFactory(Generic[H]):
    """The type of `trace`, `span`, `agent`, `tool`, `llm`, `chain`, `retriever` and `embedding`.

    Each is used in four ways, and each way makes one span per call or block::

        @tool                                   @tool(name="search", ignore=("token",))
        def search(query: str): ...             async def search(query: str, token: str): ...

        with tool("search") as s:               async with tool("search", input={"query": q}) as s:
            s.set_output(...)                       s.set_output(...)

    Functions, coroutine functions, generators, async generators and methods keep their type and signature. So do class
    and static methods, in either order of the decorators. The span of a generator lasts from its first step to its
    last, and its output is the yielded items.

    An exception passes unchanged and gives the span the status ERROR. Cancelled work and generators that are closed
    early are neither an error nor a success: their `outcome` is "cancelled" or "partial". A fault of tracing itself is
    logged once and counted.
    """

    def __init__(self, kind: str, handle_class: type[H], doc: str, *, is_trace: bool = False) -> None:
        self._defaults: dict[str, Any] = {"kind": kind, "is_trace": is_trace}
        self._handle_class = handle_class
        self.__doc__ = f"{doc}\n\n    See `SpanFactory` for the ways to use it."

    @overload
    def __call__(self, function: F, /) -> F: ...
    @overload
    def __call__(
        self,
        title: str | None = None,
        /,
        *,
        name: str | None = None,
        kind: str | None = None,
        model: str | None = None,
        capture: bool | Collection[str] = True,
        ignore: Collection[str] = (),
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        reduce: Callable[[list[Any]], Any] | None = None,
        input: Any = NOT_GIVEN,
    ) -> SpanBlock[H]: ...
    def __call__(self, target: Any = None, /, **given: Any) -> Any:
        """Decorate a function, or return a block that is also a decorator.

        Args:
            title: Name of the span, as the first argument.
            name: Name of the span. Default: the function's name; for a block without a name, the kind.
            kind: AGENT, TOOL, LLM, RETRIEVER, CHAIN, EMBEDDING or OTHER. Default: the kind of this decorator.
            model: Name of the model that is called.
            capture: True records arguments and result, False neither. A list of names records only these arguments.
            ignore: Names of arguments that are never recorded, also inside `**kwargs`. If no argument has one of the
                names, a warning is logged when the function is decorated, and arguments with a similar name are
                hidden. If no name is similar, all arguments are hidden, unless another name of `ignore` hides one.
            tags: Tags of the trace.
            metadata: Metadata of the span. For `trace`, and for the root span of a trace: also of the trace.
            session_id: Session of the trace, also for everything called inside.
            user_id: User of the trace, also for everything called inside.
            reduce: Function that makes a generator's output from the list of its yielded items (at most 10,000).
                Default: text is joined, everything else becomes a list.
            input: Input of the span; for blocks only.
        """
        kind = given.pop("kind", None)
        options = self._defaults | given | ({} if kind is None else {"kind": kind_of(kind)})
        if target is None:
            return SpanBlock(self._handle_class, **options)
        if isinstance(target, str):
            return SpanBlock(self._handle_class, **{"name": target, **options})
        return decorate(target, **options)


def decorate(target: F, **options: Any) -> F:
    """Return the function with a span around each call; a class stays as it is."""
    if isinstance(target, type):
        mistake(f"the class {target.__qualname__} is not traced: decorate its methods.")
        return cast("F", target)
    if isinstance(target, (classmethod, staticmethod)):
        method = cast("Any", target)
        has_receiver = isinstance(target, classmethod)
        return cast("F", method.__class__(decorate(method.__func__, has_receiver=has_receiver, **options)))
    plan = SpanPlan(target, **options)
    return cast("F", wrap(answered(target, plan.name, plan.read) if plan.kind == "TOOL" else target, plan.open))


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
    plan = SpanPlan(
        kind="CHAIN",
        is_trace=True,
        name=name,
        session_id=session_id,
        user_id=user_id,
        tags=tags,
        metadata=metadata,
    )
    handle = TraceHandle(plan)
    if input is not None:
        handle.set_input(input)
    return handle
