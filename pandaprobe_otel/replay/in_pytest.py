"""Recordings of tests, from the marker `pandaprobe_cassette`, the fixture and the options of pytest."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.divergence import EndOfRecording
from pandaprobe_otel.replay.recording import Diverge, Mode, Recording, recording

MARKER: Final = "pandaprobe_cassette"
_ARGUMENTS: Final = inspect.signature(recording).parameters.keys()
_LONGEST: Final = 100
"""Maximum number of characters of a file name. Most systems allow 255 bytes."""


class ItemRecording:
    """Recording of one test: opened by its fixture, checked after the test."""

    def __init__(self, item: pytest.Item, settings: Mapping[str, str | None]) -> None:
        self.recording: Recording = _recording(item, settings)
        self._has_passed = False

    def open(self) -> Iterator[Recording]:
        """Open the recording for a fixture, and write the cassette after a test that has passed."""
        self.recording.open()
        try:
            yield self.recording
        finally:
            self.recording.stop()
        if self._has_passed:
            self.recording.write()

    def failed(self, error: BaseException) -> None:
        """Raise the cause of a test's failure, since frameworks wrap exceptions. Return if the error itself is the
        cause.
        """
        if isinstance(error, EndOfRecording):
            raise RecordingError(
                f"{error}. To let it end there, call the program inside `with pandaprobe_recording.to_the_end():`."
            ) from error
        self.recording.explain(error)

    def passed(self) -> None:
        """Raise the errors that the test has caught, and an error for recorded calls that it has not made."""
        self.recording.check()
        self._has_passed = True


def _recording(item: pytest.Item, settings: Mapping[str, str | None]) -> Recording:
    marker = item.get_closest_marker(MARKER)
    given: dict[str, Any] = dict(marker.kwargs) if marker is not None else {}
    if marker is not None and marker.args:
        given.setdefault("path", marker.args[0])
    if unknown := given.keys() - _ARGUMENTS or (marker is not None and len(marker.args) > 1):
        what = ", ".join(sorted(unknown)) if isinstance(unknown, set) else "a second argument"
        raise pytest.UsageError(f"{item.nodeid}: the marker {MARKER} does not accept {what}")
    path = _path(item, given.pop("path", None), settings["cassettes"])
    options = {name: value for name, value in given.items() if value is not None}
    chosen = _chosen(settings)
    if options.get("faults"):  # A run with faults never records.
        chosen.pop("mode", None)
    options |= chosen
    return recording(path, **options)


def _chosen(settings: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the settings of the command line, which override markers."""
    found: dict[str, Any] = {}
    for name, option, words in (("mode", "record", get_args(Mode)), ("diverge", "diverge", get_args(Diverge))):
        value = settings[option]
        if value is not None and value not in words:
            raise pytest.UsageError(f"--pandaprobe-{option}={value} must be one of {', '.join(words)}")
        found |= {name: value} if value is not None else {}
    return found


def _path(item: pytest.Item, given: Any, folder: str | None) -> Path:
    """Return the cassette of a test: beside its file, or in the given folder."""
    beside = item.path.parent
    base = beside if folder is None else item.config.rootpath / folder
    if given is not None:
        return base / Path(given)
    home = base / "cassettes" if folder is None else base / _within(beside, item.config.rootpath)
    return home / item.path.stem / f"{_file_name(item)}.yaml"


def _within(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else Path()


def _file_name(item: pytest.Item) -> str:
    """Return a file name for a test and its class. It is valid on every system and unique for each test."""
    owner = getattr(item, "cls", None)
    name = item.name if owner is None else f"{owner.__name__}.{item.name}"
    safe = re.sub(r"[^\w.-]+", "_", name).strip("_")
    if safe == name and len(safe) <= _LONGEST:
        return safe
    return f"{safe[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
