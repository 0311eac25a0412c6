"""A stored trace as a recorded run: its cassette, the program's function and its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.capture.requirements import check
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace, check_whole
from pandaprobe_otel.replay.capture.test_entry import entry_of
from pandaprobe_otel.replay.capture.trace_cassette import cassette_of, scrubbed
from pandaprobe_otel.replay.interactions import Cassette
from pandaprobe_otel.replay.scrubbing import Scrubber
from pandaprobe_otel.traces.json_shapes import object_in


def recorded_in(trace: StoredTrace) -> Cassette:
    """Return the recording of a trace. Raises RecordingError, which names the missing part."""
    try:
        check(trace)
        return scrubbed(cassette_of(trace), Scrubber())
    except CannotCapture as error:
        raise RecordingError(f"the trace {trace.trace_id} cannot be run again: {error}.") from error


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
