"""`trace`, `span` and the other decorators: each is one object that decorates functions and makes blocks."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, cast, overload

from opentelemetry.context import get_current

from pandaprobe_otel.capture.arguments import ArgumentReader, parameters_of
from pandaprobe_otel.capture.call_scope import CallRecipe
from pandaprobe_otel.capture.handles import SpanHandle
from pandaprobe_otel.capture.span_plan import SpanPlan, kind_of
from pandaprobe_otel.capture.tool_answers import answered
from pandaprobe_otel.capture.trace_context import trace_values
from pandaprobe_otel.capture.wrapping import wrap
from pandaprobe_otel.process.guard import mistake, unless_used

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, Any, Any]")
H = TypeVar("H", bound=SpanHandle)

NOT_GIVEN: Final[Any] = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanOptions:
    """The options of a decorator or block."""

    kind: str
    is_trace: bool
    name: str | None = None
    model: str | None = None
    capture: bool | Collection[str] = True
    ignore: Collection[str] = ()
    tags: Sequence[str] | None = None
    metadata: Mapping[str, Any] | None = None
    session_id: str | None = None
    user_id: str | None = None
    reduce: Callable[[list[Any]], Any] | None = None
    input: Any = NOT_GIVEN

    def plan(self, name: str, function: str | None = None) -> SpanPlan:
        """Return the plan of a span of this name. Metadata belongs to the trace if the span makes one."""
        values = trace_values(
            session=self.session_id,
            user=self.user_id,
            tags=self.tags,
            metadata=self.metadata if self.is_trace else None,
        )
        return SpanPlan(
            name,
            kind=self.kind,
            is_trace=self.is_trace,
            model=self.model,
            metadata=None if self.is_trace else self.metadata,
            values=values,
            function=function,
        )


class SpanBlock(Generic[H]):
    """The result of `span("name", ...)`: a `with` block, an `async with` block or a decorator.

    It may be entered many times, also by several tasks at once. Each entry makes a new span.
    """

    __slots__ = ("__weakref__", "_handle_class", "_key", "_open", "_options", "_unused")

    def __init__(self, options: SpanOptions, handle_class: type[H]) -> None:
        self._options = options
        self._handle_class = handle_class
        self._key = f"pandaprobe-block-{id(self)}"
        self._open: list[H] = []
        self._unused: object = unless_used(self, lambda: f"the span {options.name or options.kind.lower()!r}")

    def __call__(self, function: F) -> F:
        """Decorate a function, method or class."""
        self._unused = None
        if self._options.input is not NOT_GIVEN:
            name = getattr(function, "__qualname__", type(function).__qualname__)
            mistake(f"input= of the decorator of {name} is ignored: the arguments of each call are the input.")
        return decorate(function, self._options)

    def __enter__(self) -> H:
        self._unused = None
        options = self._options
        plan = options.plan(options.name or options.kind.lower())
        handle = self._handle_class(plan, key=self._key)
        if options.input is not NOT_GIVEN:
            handle.set_input(options.input)
        try:
            self._open.append(handle)
            return handle.__enter__()
        except BaseException:
            self._close(handle)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        handle: H | None = None
        try:
            handle = self._innermost()
            if handle is not None:
                self._open.remove(handle)
                handle.__exit__(kind, error, trace)
        except BaseException:
            self._close(handle or self._innermost())
            raise

    def _innermost(self) -> H | None:
        """Return the current open entry: the one in the context, unless somebody replaced it."""
        handle: Any = get_current().get(self._key)
        if handle is not None and handle in self._open:
            return handle  # type: ignore[no-any-return]
        return self._open[-1] if self._open else None

    def _close(self, handle: Any) -> None:
        """Undo an entry that was interrupted while it was created or left."""
        if handle is not None:
            handle.interrupted()
            if handle in self._open:
                self._open.remove(handle)

    async def __aenter__(self) -> H:
        try:
            return self.__enter__()
        except BaseException:
            self._close(get_current().get(self._key))
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.__exit__(kind, error, trace)
        except BaseException:
            self._close(get_current().get(self._key))
            raise


class SpanFactory(Generic[H]):
    """The type of `trace`, `span`, `agent`, `tool`, `llm`, `chain`, `retriever` and `embedding`.

    Each is used in four ways, and each way makes one span per call or block::

        @tool                                   @tool(name="search", ignore=("token",))
        def search(query: str): ...             async def search(query: str, token: str): ...

        with tool("search") as s:               async with tool("search", input={"query": q}) as s:
            s.set_output(...)                       s.output = ...

    Functions, coroutine functions, generators, async generators and methods keep their type and signature. So do class
    and static methods, in either order of the decorators. Decorating a class decorates the public methods that it
    defines. The span of a generator lasts from its first step to its last, and its output is
    the yielded items.

    An exception passes unchanged and gives the span the status ERROR. Cancelled work and generators that are closed
    early are neither an error nor a success: their `outcome` is "cancelled" or "partial". A fault of tracing itself is
    logged once and counted.
    """

    def __init__(self, kind: str, handle_class: type[H], doc: str, *, is_trace: bool = False) -> None:
        self._defaults = SpanOptions(kind=kind, is_trace=is_trace)
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
        if target is None or isinstance(target, str):
            return SpanBlock(self._options(target, given), self._handle_class)
        return decorate(target, self._options(None, given))

    def _options(self, title: str | None, given: dict[str, Any]) -> SpanOptions:
        if title is not None:
            given.setdefault("name", title)
        kind = given.pop("kind", None)
        if kind is not None:
            given["kind"] = kind_of(kind)
        return replace(self._defaults, **given)


def decorate(target: F, options: SpanOptions) -> F:
    """Return the function with a span around each call; for a class, return it with its methods replaced."""
    if isinstance(target, type):
        return cast("F", _decorate_class(cast("type[Any]", target), options))
    function = cast("Callable[..., Any]", getattr(target, "__func__", target))
    is_static = isinstance(target, staticmethod)
    captured = options.capture
    read = None
    if captured is not False:
        read = ArgumentReader(
            function,
            only=None if captured is True else _names(captured),
            ignore=_names(options.ignore),
            keep_object=options.kind == "TOOL",
            has_receiver=not is_static,
        )
    name = options.name or _name_of(function)
    plan = options.plan(name, _place_of(function))
    recipe = CallRecipe(plan=plan, read=read, captures_output=captured is not False, reduce=options.reduce)
    if options.kind == "TOOL":
        return wrap(_answered(target, name, read), recipe.open)
    return wrap(target, recipe.open)


def _answered(target: F, name: str, read: ArgumentReader | None) -> F:
    """Return a tool's function that asks an open recording before each call; methods keep their type."""
    if isinstance(target, (classmethod, staticmethod)):
        method = cast("Any", target)
        return cast("F", method.__class__(_answered(method.__func__, name, read)))
    return cast("F", answered(target, name, read))


def _decorate_class(target: type[Any], options: SpanOptions) -> type[Any]:
    owner = options.name or target.__name__
    members: dict[str, Any] = {
        name: member
        for name, member in vars(target).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod)))
    }
    named = {
        name: frozenset(p.name for p in parameters_of(getattr(member, "__func__", member)))
        for name, member in members.items()
    }
    known = frozenset[str]().union(*named.values())
    for name, member in members.items():
        # A name that an argument of another method has is not a mistake here.
        mine = replace(
            options,
            name=f"{owner}.{name}",
            ignore=_without(options.ignore, known - named[name]),
            capture=options.capture
            if isinstance(options.capture, bool)
            else _without(options.capture, known - named[name]),
        )
        setattr(target, name, decorate(member, mine))
    return target


def _without(names: Collection[str], others: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in _names(names) if name not in others)


def _name_of(function: Callable[..., Any]) -> str:
    inner = getattr(function, "func", function)  # functools.partial
    return str(getattr(inner, "__name__", type(function).__name__))


def _place_of(function: Callable[..., Any]) -> str | None:
    """Return module and qualified name. In a script that runs, the module has the name that an import would give it."""
    inner: Any = getattr(function, "func", function)
    module, name = getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if module == "__main__":
        main: Any = sys.modules.get("__main__")
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        module = spec.name if spec is not None else os.path.splitext(os.path.basename(file))[0] if file else module
    return f"{module}.{name}"


def _names(names: Collection[str]) -> Collection[str]:
    return (names,) if isinstance(names, str) else names
