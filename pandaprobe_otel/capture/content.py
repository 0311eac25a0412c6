"""Content of a span: arguments, values as JSON text, made before they can change, items of a stream, exceptions."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import SequenceMatcher
from itertools import islice
from typing import Any, Final, cast

import orjson
from opentelemetry.trace import Span, StatusCode

from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping.clean import encode as encode_carefully
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel.mapping.text import cut_text
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.process.guard import counted, failed, mistake, pass_on

NOTHING: Final = object()
"""Marks a call that has no input to show."""

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
_RECEIVERS = frozenset({"self", "cls", "mcs"})
_PLAIN_DEFAULTS: Final[tuple[type[Any], ...]] = (type(None), bool, int, float, str, bytes, list, tuple, dict)
_SAYS_NOTHING: Final = re.compile(r"<?\w+>?|.* at 0x[0-9a-fA-F]+>", re.DOTALL)
"""Text of sentinels: `NOT_GIVEN`, `<UNSET>`, `<object object at 0x...>`."""
_ALL_ARGUMENTS: Final = "*"
"""Key for every argument of a function."""
_SIMILAR: Final = 0.6
"""Share of common letters above which two names count as similar; a typing error leaves more."""
_TOO_SHORT: Final = 2
"""Length of names that are part of many other names by chance."""


class ArgumentReader:
    """Reader of the arguments of one function, without `self` and without the arguments that must not be recorded.

    Several arguments become an object by parameter name: first the given ones, then the defaults of the others. The
    members of `**kwargs` keep their own names. A single given argument becomes its bare value, and the defaults are
    recorded separately. With `keep_object`, a single argument also becomes an object. Without it, the input of an agent
    is the question itself, which evaluations read. A parameter called `messages` always keeps its name, because
    `{"messages": [...]}` is PandaProbe's own form.

    A name in `ignore` that no argument has may be misspelt, so the arguments that it may have meant are hidden too.
    The reader does not validate: a call with wrong arguments raises in the function itself.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        only: Collection[str] | None = None,
        ignore: Collection[str] = (),
        keep_object: bool = False,
        has_receiver: bool = True,
    ) -> None:
        self._keep_object = keep_object
        self._only = None if only is None else frozenset(only)
        self._hidden = frozenset(ignore)
        self._filters = bool(self._hidden) or self._only is not None
        parameters = _parameters_of(function)
        kinds = {p.kind for p in parameters}
        self._markers: dict[str, str] = {}
        if parameters and inspect.Parameter.VAR_KEYWORD not in kinds:  # else any name may be one of an argument
            self._markers = _hidden_by_mistake(function, [p.name for p in parameters], only or (), ignore)
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._skip = 1 if has_receiver and names and names[0] in _RECEIVERS else 0
        self._positional = tuple(names[self._skip :])
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
        self._words = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), "kwargs")
        # A call of `def f(a, /, *args, **kwargs)` may use these same names as keywords.
        self._may_collide = inspect.Parameter.VAR_KEYWORD in kinds and not kinds.isdisjoint(_POSITIONAL)
        self._named = frozenset(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
        self._template = self._made_template(parameters[self._skip :])
        required = {p.name for p in parameters if p.default is p.empty}
        self._defaults = {name: value for name, value in self._template.items() if name not in required}

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[object, dict[str, Any] | None]:
        """Return the input of this call, and the defaults that are not part of it (None if there are none).

        The input is `NOTHING` if no argument is to be shown.
        """
        if self._skip:
            args = args[1:]
        given: dict[str, Any] = dict(zip(self._positional, args))  # noqa: B905 - the function itself counts them
        if len(args) > len(self._positional):
            given[self._rest] = args[len(self._positional) :]
        if kwargs:
            if self._may_collide and not given.keys().isdisjoint(kwargs):
                given = {**kwargs, **given, self._words: {name: kwargs[name] for name in given if name in kwargs}}
            else:
                given.update(kwargs)
        if self._filters:
            if _ALL_ARGUMENTS in self._markers:
                return self._markers[_ALL_ARGUMENTS], None
            given = {name: self._markers.get(name, value) for name, value in given.items() if self._shows(name)}
        if len(given) == 1 and not self._keep_object:
            name, value = next(iter(given.items()))
            left_out = self._defaults and {key: item for key, item in self._defaults.items() if key != name}
            return (given if name == "messages" else value), left_out or None
        shown = given if self._template.keys() <= given.keys() else self._template | given
        return (shown if shown or self._keep_object else NOTHING), None

    def _made_template(self, parameters: list[inspect.Parameter]) -> dict[str, Any]:
        """Return the parameters in order with their defaults; a call replaces the values that it gives."""
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {
            p.name: self._markers.get(p.name, None if p.default is p.empty else p.default)
            for p in parameters
            if p.kind not in variable and (p.default is p.empty or _says_something(p.default)) and self._shows(p.name)
        }

    def _shows(self, name: str) -> bool:
        """Return whether to show a parameter. Names taken by `**kwargs` are also selected by the name `kwargs`."""
        labels = {name} if name in self._named else {name, self._words}
        return labels.isdisjoint(self._hidden) and (self._only is None or not labels.isdisjoint(self._only))


def _says_something(default: object) -> bool:
    """Return whether a default is a value, not a sentinel for "not given"."""
    if isinstance(default, _PLAIN_DEFAULTS):
        return True
    try:
        return _SAYS_NOTHING.fullmatch(repr(default)) is None
    except Exception as error:  # noqa: BLE001 - the `__repr__` of the user's value ran; counted and logged
        failed("a default", error)
        return False


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature without evaluating annotations, whose names may be defined later or never."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function; an empty list if it has no signature."""
    try:
        return list(_signature(function).parameters.values())
    except (TypeError, ValueError) as error:  # a builtin without a signature: positional arguments appear as `args`
        pass_on(error)
        return []
    except Exception as error:  # noqa: BLE001 - a `__signature__` of the user's ran; counted and logged
        failed("signature", error)
        return []


def _hidden_by_mistake(
    function: Callable[..., Any], known: Collection[str], only: Collection[str], ignore: Collection[str]
) -> dict[str, str]:
    """Warn about names that no argument has. Return markers for the arguments that a name in `ignore` may have meant.

    These are the arguments with a similar name. If there are none, and no other name of `ignore` hides an argument,
    all arguments are hidden.
    """
    qualified = getattr(function, "__qualname__", type(function).__qualname__)
    place = f"names no argument of {getattr(function, '__module__', '?')}.{qualified}(), so"
    for name in {*only} - {*known}:
        mistake(f"capture={name!r} {place} the intended argument is not recorded: correct the name.")
    markers: dict[str, str] = {}
    unknown = {*ignore} - {*known}
    for name in unknown:
        similar = [other for other in known if _is_similar(name, other)]
        if not similar and len(unknown) < len({*ignore}):
            mistake(f"ignore={name!r} {place} nothing is hidden in its spans: remove it, or correct it.")
            continue
        markers |= dict.fromkeys(similar or (_ALL_ARGUMENTS,), f"[hidden: ignore={name!r} names no argument]")
        mistake(f"ignore={name!r} {place} {', '.join(similar) or 'every argument'} is hidden in its spans: correct it.")
    return markers


def _is_similar(name: str, other: str) -> bool:
    one, two = (text.lower().replace("_", "") for text in (str(name), other))
    short, long = sorted((one, two), key=len)
    return (len(short) > _TOO_SHORT and short in long) or SequenceMatcher(None, one, two).ratio() >= _SIMILAR


MAX_TEXT_CHARS: Final = 200_000
"""Bound on the kept text of a stream; the rest is only counted. Less than the encoder's bound of 256 KiB."""
REDUCE_FAILED: Final = "[left out: reduce failed]"
MAX_ITEMS: Final = 10_000
"""Bound on the items of a stream that are kept for `reduce`."""

# The most common types of results, checked before the slower check for iterators.
_PLAIN: Final = frozenset({str, dict, list, tuple, int, float, bool, type(None)})

_ITEM_OVERHEAD: Final = 32
"""Size counted for an item in addition to its text, so that a million tiny items are bounded too."""

_SCALARS: Final = frozenset({int, bool, float, type(None)})
# Three levels of 16 texts of 256 characters take at most 1 ms to encode, and only then their bytes are counted.
_FEW: Final = 16
_SHORT: Final = 256


def encode(value: Any, max_bytes: int = 262_144, *, vectors: bool = True) -> str:
    """Return the value as JSON text of at most `max_bytes` bytes (at least 256). Never raises because of the value.

    Without `vectors`, a marker replaces each list or array of numbers.
    """
    kind = type_of(value)
    if kind is str:
        is_simple = len(value) * 4 <= max_bytes
    else:
        is_simple = kind in _SCALARS or (vectors and (kind is dict or kind is list) and _is_simple(value, 2))
    if is_simple:
        # At most half the cost of `encode_carefully`, for the arguments and results of most calls.
        try:
            text = orjson.dumps(value).decode()
        except (TypeError, ValueError) as error:  # a key that is not text, a lone surrogate, a number over 64 bits
            pass_on(error)
        else:
            if len(text) * 4 <= max_bytes and "\\u0000" not in text:
                return text
    return encode_carefully(value, max_bytes, vectors=vectors)


def _is_simple(value: Any, levels_below: int) -> bool:
    """Return whether a dict or list has few elements: numbers, short texts and, `levels_below` deep, similar ones."""
    kind = type_of(value)
    if len(value) > _FEW:
        return False
    for item in tuple(value.values()) if kind is dict else value:
        kind = type_of(item)
        if kind is str:
            if len(item) > _SHORT:
                return False
        elif kind not in _SCALARS and not (
            levels_below and (kind is dict or kind is list) and _is_simple(item, levels_below - 1)
        ):
            return False
    return True


def is_result(value: object) -> bool:
    """Return whether a returned value is a result. None and an unread stream are not results."""
    kind = type_of(value)
    if kind in _PLAIN:
        return value is not None
    return not (hasattr(kind, "__next__") or hasattr(kind, "__anext__") or hasattr(kind, "__await__"))


class StreamContent:
    """The items that a generator yielded, in bounded memory: joined text, or a JSON array.

    Each item is encoded when it passes, so the user's objects are not kept alive, and later changes do not show. With
    `reduce`, the items themselves are kept (at most `MAX_ITEMS`, at most `MAX_TEXT_CHARS` of text) and passed to it as
    a list at the end.
    """

    __slots__ = ("_is_text", "_items", "_left", "_missing", "_reduce", "_seen")

    def __init__(self, reduce: Callable[[list[Any]], Any] | None = None) -> None:
        self._reduce = reduce
        self._items: list[Any] = []
        """The items themselves for `reduce`; else texts, or JSON texts once an item was no text."""
        self._is_text = True
        self._left = MAX_TEXT_CHARS
        self._missing = 0
        self._seen = 0

    def __bool__(self) -> bool:
        return self._seen > 0

    def add(self, item: Any) -> None:
        """Add one yielded item."""
        self._seen += 1
        if self._reduce is not None:
            size = len(item) if isinstance(item, (str, bytes)) else 0
            self._keep(item, size, fits=len(self._items) < MAX_ITEMS and size <= self._left)
        elif type(item) is str and self._is_text:
            if kept := item[: self._left]:
                self._items.append(kept)
                self._left -= len(kept)
            self._missing += len(item) - len(kept)
        else:
            if self._is_text:
                self._is_text = False
                self._items = [encode(text) for text in self._items]
                self._missing = min(self._missing, 1)
            part = encode(item, self._left) if self._left > 0 else ""
            self._keep(part, len(part) + _ITEM_OVERHEAD, fits=bool(part))

    def _keep(self, item: Any, size: int, *, fits: bool) -> None:
        if fits:
            self._items.append(item)
            self._left -= size
        else:
            self._missing += 1

    def text(self) -> str:
        """Return all items as JSON text, or a marker if the user's `reduce` fails. The stream is not affected."""
        if self._reduce is not None:
            try:
                return encode(self._reduce(self._items))
            except KeyboardInterrupt:  # raised in the app's thread, the interrupt belongs to the app
                raise
            except BaseException as error:  # noqa: BLE001 - the user's `reduce` ran; counted and logged
                failed("reduce", error)
                return encode(REDUCE_FAILED)
        if self._is_text:
            text = "".join(self._items)
            return encode(f"{text}…[cut {self._missing} more characters]" if self._missing else text)
        missing = [encode(f"…[cut: {self._missing} more items]")] if self._missing else []
        return f"[{','.join(self._items + missing)}]"

    def missing_from_text(self, returned: object) -> dict[str, object]:
        """Return data missing from the output: a generator's return value, and items that `reduce` has not seen."""
        missing: dict[str, object] = {}
        if returned is not None:
            missing["returned"] = returned
        if self._reduce is not None and self._missing:
            missing["output_cut"] = f"…[cut: {self._missing} more items]"
        return missing


MAX_MESSAGE_CHARS: Final = 16_384
MAX_FRAMES: Final = 50
"""Bound on recorded frames, innermost first. Without it, an error that leaves n nested spans would cost n²."""
MAX_GROUPED: Final = 10
"""Bound on the named exceptions of a group; a group's own text gives only their number."""


def record_exception(span: Span, error: BaseException) -> None:
    """Record the meaning of an exception for the work of the span.

    An error sets the status ERROR, an `exception` event and `error.type`. The end of an iteration means nothing. The
    others only set `pandaprobe.outcome`: cancellation from outside, closing a stream early, and exceptions with which a
    framework waits for a person.
    """
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        return
    if (outcome := outcome_of(error)) is not None:
        if outcome:
            span.set_attribute(names.OUTCOME, outcome)
        return
    kind, message = kind_and_message(error)
    span.set_attribute(names.ERROR_TYPE, kind)
    span.add_event(
        "exception",
        {
            "exception.type": kind,
            "exception.message": message,
            "exception.stacktrace": _stack_trace(error),
            "exception.escaped": "True",
        },
    )
    span.set_status(StatusCode.ERROR, f"{kind}: {message}")


def kind_and_message(error: BaseException) -> tuple[str, str]:
    """Return the qualified name of the exception's class, and its text with its notes."""
    return _qualified_name(type(error)), _message(error)


def _qualified_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        text = "\n".join(_lines(error))
    except Exception as fault:  # noqa: BLE001 - the exception's own `__str__` ran; the placeholder tells of it
        counted("the text of an exception", fault)
        return f"<{type(error).__name__}: cannot be shown>"
    if len(text) <= MAX_MESSAGE_CHARS:
        return text
    return cut_text(text, MAX_MESSAGE_CHARS)


def _lines(error: BaseException) -> Iterator[str]:
    yield str(error)
    notes: Any = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        yield from (note for note in cast("list[object]", notes) if isinstance(note, str))
    if isinstance(error, BaseExceptionGroup):
        for inner in islice(_members(cast("BaseExceptionGroup[BaseException]", error)), MAX_GROUPED):
            yield f"{_qualified_name(type(inner))}: {inner}"


def _members(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the exceptions inside a group and inside its nested groups."""
    left: list[BaseException] = [group]
    while left:
        inner = left.pop()
        if isinstance(inner, BaseExceptionGroup):
            left += reversed(cast("BaseExceptionGroup[BaseException]", inner).exceptions)
        else:
            yield inner


def _stack_trace(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error, limit=-MAX_FRAMES))
    except Exception as fault:  # noqa: BLE001 - code of the user's exception ran; the placeholder tells of it
        counted("the stack trace of an exception", fault)
        return "<the stack trace cannot be shown>"
