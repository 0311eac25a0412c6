"""The recording that a request belongs to: that of its OpenTelemetry context, or the only open one of the process."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from opentelemetry.context import create_key, get_current, get_value
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.exporters import is_exporter

if TYPE_CHECKING:
    from pandaprobe_otel.replay.replayed_run import Run

KEY: Final = create_key("pandaprobe-recording")

_lock = threading.RLock()
_open: list[Run] = []
_is_inside: ContextVar[bool] = ContextVar("pandaprobe_inside_a_recorded_request", default=False)


def add(run: Run) -> None:
    """Register a recording. The first one of the process hooks the libraries."""
    from pandaprobe_otel.replay import hooks, tools

    with _lock:
        _open.append(run)
        if len(_open) == 1:
            hooks.install()
            tools.install()


def take_away(run: Run) -> None:
    """Remove a recording. The last one of the process removes the hooks."""
    from pandaprobe_otel.replay import hooks, tools

    with _lock:
        if run in _open:
            _open.remove(run)
            if not _open:
                hooks.remove()
                tools.remove()


def current() -> Run | None:
    """Return the recording of a request that is made here; None if it is not a request of the app.

    Three kinds do not belong to the app: requests inside a recorded request, as when a client sends through two
    libraries; those that OpenTelemetry must ignore, such as its exporters, our own API client, and judges; and those
    with which other libraries export their own traces. Raises RecordingError if several recordings are open and the
    context names none of them.
    """
    if not _open or _is_inside.get() or not is_instrumentation_enabled() or is_exporter(inspect.currentframe()):
        return None
    return owner()


def owner() -> Run | None:
    """Return the recording of the code that runs here. Raises RecordingError as `current` does."""
    found = get_value(KEY, get_current())
    with _lock:
        for run in _open:
            if run is found:
                return run
        if len(_open) > 1:
            names = ", ".join(sorted(str(run.path) for run in _open))
            raise RecordingError(
                f"{len(_open)} recordings are open ({names}), but this code runs in the context of none of them: start "
                "its thread with `pandaprobe_otel.context_executor()` or `contextvars.copy_context().run`."
            )
        return _open[0] if _open else None


@contextmanager
def inside() -> Generator[None]:
    """Ignore requests that a recorded request makes itself."""
    token = _is_inside.set(True)
    try:
        yield
    finally:
        _is_inside.reset(token)
