"""A stored trace as a recorded run: its cassette, the program's function and its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.call_order import ordinal
from pandaprobe_otel.replay.capture.requirements import check
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace, check_whole
from pandaprobe_otel.replay.capture.test_entry import entry_of
from pandaprobe_otel.replay.capture.trace_cassette import cassette_of, scrubbed
from pandaprobe_otel.replay.interactions import Cassette, Interaction
from pandaprobe_otel.replay.scrubbing import Scrubber
from pandaprobe_otel.traces.json_shapes import object_in


def recorded_in(trace: StoredTrace) -> Cassette:
    """Return the recording of a trace. Raises RecordingError, which names the missing part."""
    try:
        check(trace)
        cassette = scrubbed(cassette_of(trace), Scrubber())
    except CannotCapture as error:
        raise RecordingError(f"the trace {trace.trace_id} cannot be run again: {error}.") from error
    return replace(cassette, interactions=tuple(_with_own_places(trace, cassette)))


def entry_in(trace: StoredTrace) -> str | None:
    """Return the program's function as `module:function`, if the trace or pyproject.toml names it."""
    entry = entry_of(trace)
    return None if entry.module is None else f"{entry.module}:{entry.name}"


def arguments_in(trace: StoredTrace, entry: Callable[..., Any]) -> Any:
    """Return the arguments of the program: by name if they are its parameters, otherwise as its only argument."""
    given = trace.root.input
    try:
        check_whole(given, "the program's input")
    except CannotCapture as error:
        raise RecordingError(f"{error}: pass it with --arguments.") from error
    by_name = object_in(given)
    return given if given is None or (by_name is not None and _takes(entry, by_name)) else [given]


def _takes(entry: Callable[..., Any], given: Mapping[str, Any]) -> bool:
    try:
        inspect.signature(entry).bind(**given)
    except (TypeError, ValueError):
        return False
    return True


def _with_own_places(trace: StoredTrace, cassette: Cassette) -> Iterator[Interaction]:
    """Yield the calls with their own spans at the end of their paths, as in a recording."""
    times: dict[tuple[str, str], int] = {}
    for one, span in zip(cassette.interactions, trace.model_calls, strict=True):
        number = times[one.at, span.name] = times.get((one.at, span.name), 0) + 1
        own = span.name if number == 1 else f"{span.name} ({ordinal(number)})"
        yield replace(one, at=f"{one.at} > {own}" if one.at else own)
