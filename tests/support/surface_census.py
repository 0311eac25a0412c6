"""A census: every public method of a client library is called once, with a provider in memory, and its spans counted.

`client_surfaces` has the libraries, with the reasons why some methods make no span; docs/providers.md has the results.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from pandaprobe_otel.registry import instrument, uninstrument
from span_recorder import SpanRecorder

EACH: Final = "a span for each answer"
"""The result for a method that opens a connection."""


class Method(NamedTuple):
    """One public method by its dotted name, with a call of it that sends a request."""

    name: str
    call: Callable[[], Any]


@dataclass(slots=True)
class Roll:
    """The methods of one library. `requests` reached the provider during the last call, as "POST /path"."""

    methods: Iterable[Method] = ()
    requests: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One client library. `open` returns its methods after the library was instrumented."""

    integration: str
    """The name of the integration in the registry."""
    distribution: str
    open: Callable[[], AbstractContextManager[Roll]]
    left_out: Mapping[str, Sequence[str]]
    """Reason for no spans -> names of methods, as shell patterns."""
    hooked: Callable[[str, Any], str | None] = lambda name, result: None
    """Returns the spans of a method that is not called, or whose result must be used first; None if there are none."""

    @property
    def version(self) -> str:
        """The installed version."""
        return version(self.distribution)


@dataclass(frozen=True, slots=True)
class Found:
    """The results for a library's methods, by name."""

    traced: Mapping[str, str]
    """Method -> operation of its span."""
    left_out: Mapping[str, Sequence[str]]
    """Reason for no spans -> methods."""
    reading: Sequence[str]
    """Methods that only read or delete data at the service."""
    unknown: Sequence[str]
    """Methods that make no span, without a reason in `left_out`."""
    outdated: Sequence[str]
    """Patterns in `left_out` that match no method any more, and methods that make spans although a pattern matches."""


def census(library: Library) -> Found:
    """Call each method once, with the integration active."""
    recorder = SpanRecorder()
    traced: dict[str, str] = {}
    left: dict[str, list[str]] = {reason: [] for reason in library.left_out}
    reading: list[str] = []
    unknown: list[str] = []
    instrument(library.integration, tracer_provider=recorder.provider)
    try:
        with library.open() as roll:
            for method in roll.methods:
                operation = _operation(library, roll, method, recorder)
                if operation is not None:
                    traced[method.name] = operation
                elif (reason := _reason(library, method.name)) is not None:
                    left[reason].append(method.name)
                elif roll.requests and all(one.startswith(("GET ", "DELETE ")) for one in roll.requests):
                    reading.append(method.name)
                else:
                    unknown.append(method.name)
    finally:
        uninstrument(library.integration)
        recorder.provider.shutdown()
    return Found(traced, left, reading, unknown, _outdated(library, traced, left))


def _operation(library: Library, roll: Roll, method: Method, recorder: SpanRecorder) -> str | None:
    roll.requests.clear()
    recorder.clear()
    result: Any = None
    with suppress(Exception):  # answers are made up: only the request counts
        result = method.call()
    later = library.hooked(method.name, result)
    del result
    if roll.requests and not recorder.spans:
        gc.collect(0)  # a streamed span ends with its stream
    if not recorder.spans:
        return later
    attributes = recorder.spans[0].attributes or {}
    return str(attributes["gen_ai.operation.name"])


def _reason(library: Library, name: str) -> str | None:
    return next((why for why, patterns in library.left_out.items() if _matches(name, patterns)), None)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _outdated(library: Library, traced: Mapping[str, str], left: Mapping[str, Sequence[str]]) -> list[str]:
    named = [pattern for patterns in library.left_out.values() for pattern in patterns]
    idle = [one for one in named if not any(fnmatchcase(name, one) for names in left.values() for name in names)]
    return [*idle, *(name for name in traced if _matches(name, named))]


# -- the public methods of a client and of all its resources -----------------------------------------------------------

_BY_ANNOTATION: Final[tuple[tuple[str, Any], ...]] = (
    ("FileTypes", ("a.txt", b"x")),
    ("FileContent", b"x"),
    ("Iterable", []),
    ("Sequence", []),
    ("List", []),
    ("list[", []),
    ("Dict", {}),
    ("Mapping", {}),
    ("bool", True),
    ("int", 1),
    ("float", 1.0),
)


def arguments_for(method: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments for parameters without a default; values in `known`, by name, override guesses."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            continue
        if parameter.default is parameter.empty:
            found[name] = known[name] if name in known else _guess(str(parameter.annotation))
    return found


def _guess(annotation: str) -> Any:
    # For a union that allows a string, use a string: the request can then be sent.
    if "str" in annotation.replace("Mapping[str", "").replace("Dict[str", "").replace("List[str", ""):
        return "x"
    return next((value for part, value in _BY_ANNOTATION if part in annotation), "x")


_SKIPPED = ("_", "with_", "parent_ref", "sdk_configuration")


def methods_of(
    owner: Any, is_resource: Callable[[Any], bool], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the dotted name and the bound method, depth first, in alphabetical order."""
    for name in sorted(set(dir(owner))):
        if name.startswith(_SKIPPED):
            continue
        try:
            found = getattr(owner, name)
        except Exception:  # noqa: BLE001 - a property that needs settings which this client lacks
            continue
        if is_resource(found):
            if len(path) < 6 and found is not owner:
                yield from methods_of(found, is_resource, (*path, name))
        elif callable(found) and not isinstance(found, type):
            yield ".".join((*path, name)), found
