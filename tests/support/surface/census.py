"""Calling every method of a library once, with its provider played in memory, and looking for spans."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules
from typing import Any, Final, NamedTuple

import pytest

from pandaprobe_otel.registry import instrument, uninstrument
from span_recorder import SpanRecorder

from . import libraries

EACH: Final = "a span for each answer"
"""What an open connection makes."""


class Method(NamedTuple):
    """One public method by its dotted name, and how to call it in a way that asks the provider."""

    name: str
    call: Callable[[], Any]


@dataclass(slots=True)
class Roll:
    """The methods of one library. `requests` are what the provider got, as "POST /path"; the census empties it."""

    methods: Iterable[Method]
    requests: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One client library. `open` gives its methods, once the library is instrumented."""

    integration: str
    """Name in the registry."""
    distribution: str
    open: Callable[[], AbstractContextManager[Roll]]
    left_out: Mapping[str, Sequence[str]]
    """Why methods make no spans -> their names, as patterns of the shell."""
    hooked: Callable[[str, Any], str | None] = lambda name, result: None
    """What spans a method makes that is not called, or only when its result is used; None for none."""

    @property
    def version(self) -> str:
        """The version that is installed."""
        return version(self.distribution)


@dataclass(frozen=True, slots=True)
class Found:
    """What the methods of a library do, by their names."""

    traced: Mapping[str, str]
    """Method -> operation of its span."""
    left_out: Mapping[str, Sequence[str]]
    """Why not -> methods."""
    reading: Sequence[str]
    """Methods that only read or delete what the service keeps."""
    unknown: Sequence[str]
    """Methods that make no span, and nobody has said why."""
    outdated: Sequence[str]
    """Patterns that no method needs any more, or methods that make spans although they are left out."""


def census(library: Library) -> Found:
    """Call each method once. The integration is on while that lasts."""
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
    with suppress(Exception):  # the answers are made up: only the question counts here
        result = method.call()
    later = library.hooked(method.name, result)
    del result
    if roll.requests and not recorder.spans:
        gc.collect(0)  # what was streamed ends with the stream
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


def all_libraries() -> list[Library]:
    """Every library's, by name. One that cannot be imported is missed by a test of its own."""
    found: list[Library] = []
    for module in iter_modules(libraries.__path__):
        with suppress(ImportError, pytest.skip.Exception):
            found.append(import_module(f"{libraries.__name__}.{module.name}").LIBRARY)
    return sorted(found, key=lambda library: library.integration)
