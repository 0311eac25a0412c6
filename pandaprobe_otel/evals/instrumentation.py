"""The supported libraries make spans for as long as somebody evaluates, and are as before afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_SETTINGS: Final = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
}
"""What makes instrumentations record content, in the names of OpenTelemetry's GenAI conventions."""


def instrument() -> tuple[str, ...]:
    """Let the supported libraries make spans, with content, where no `init()` that sends has seen to it.

    Returns the names of those that did not make any before.
    """
    from pandaprobe_otel.bootstrap import current
    from pandaprobe_otel.registry import instrument_all, instrumented

    handle = current()
    if handle is not None and handle.enabled:
        return ()
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    before = {result.name for result in instrumented()}
    return tuple(result.name for result in instrument_all("auto", tuple(before)) if result.name not in before)


class _Borrowed:
    """Counts those who evaluate at the same time: the first one instruments, the last one undoes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._names: tuple[str, ...] = ()
        self._added: tuple[str, ...] = ()

    def take(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._added = tuple(name for name in _SETTINGS if name not in os.environ)
                self._names = instrument()

    def give_back(self) -> None:
        from pandaprobe_otel.registry import uninstrument

        with self._lock:
            self._users -= 1
            if self._users == 0:
                for name in self._names:
                    uninstrument(name)
                for name in self._added:
                    os.environ.pop(name, None)


_borrowed: Final = _Borrowed()


@contextmanager
def instrumentation() -> Generator[None]:
    """While it is open, the supported libraries make spans; afterwards they are as they were found."""
    _borrowed.take()
    try:
        yield
    finally:
        _borrowed.give_back()
