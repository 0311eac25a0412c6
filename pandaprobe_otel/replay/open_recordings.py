"""Which recording a request belongs to: the one of its OpenTelemetry context, else the only one open in the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from opentelemetry.context import create_key, get_current, get_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from pandaprobe_otel.errors import RecordingError

if TYPE_CHECKING:
    from pandaprobe_otel.replay.recording import Recording

KEY: Final = create_key("pandaprobe-recording")

_lock = threading.Lock()
_open: list[Recording] = []
_is_inside: ContextVar[bool] = ContextVar("pandaprobe_inside_a_recorded_request", default=False)


def opened(recording: Recording) -> bool:
    """Add a recording; tell whether it is the first one of the process."""
    with _lock:
        _open.append(recording)
        return len(_open) == 1


def closed(recording: Recording) -> bool:
    """Take a recording away; tell whether it was the last one."""
    with _lock:
        if recording in _open:
            _open.remove(recording)
        return not _open


def current() -> Recording | None:
    """Return the recording that a request made here belongs to; None if it is none of the app's requests.

    Those are inside of a request that is recorded already, as when a client sends through two libraries, and what
    OpenTelemetry is told not to see: exporters, our own API client, judges. Raises RecordingError when several
    recordings are open and the context does not tell which it is.
    """
    if not _open or _is_inside.get() or not is_instrumentation_enabled():
        return None
    return owner()


def owner() -> Recording | None:
    """Return the open recording that code which runs here belongs to. Raises RecordingError as `current` does."""
    found = get_value(KEY, get_current())
    with _lock:
        if found in _open:
            return found  # type: ignore[return-value]
        if len(_open) > 1:
            names = ", ".join(sorted(str(recording.path) for recording in _open))
            raise RecordingError(
                f"{len(_open)} recordings are open ({names}), and this code runs without the context of any of them: "
                "start its thread with `pandaprobe_otel.context_executor()` or `contextvars.copy_context().run`."
            )
        return _open[0] if _open else None


@contextmanager
def inside() -> Iterator[None]:
    """Let requests pass that a recorded request makes by itself."""
    token = _is_inside.set(True)
    try:
        yield
    finally:
        _is_inside.reset(token)
