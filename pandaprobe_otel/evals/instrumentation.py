"""Instrumentation of the supported libraries during an evaluation, undone at its end."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final


class _Borrowed:
    """Count of concurrent evaluations. The first one instruments the libraries, and the last one restores them.

    An `init()` that sends may run meanwhile. It then takes over the instrumented libraries, and they stay instrumented.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._libraries: tuple[str, ...] = ()
        self._variables: tuple[str, ...] = ()

    def take(self) -> None:
        from pandaprobe_otel.bootstrap import CONTENT_SWITCHES
        from pandaprobe_otel.registry import instrument_all, instrumented

        with self._lock:
            if self._users == 0 and not _somebody_sends():
                self._variables = tuple(name for name in CONTENT_SWITCHES if name not in os.environ)
                os.environ.update({name: CONTENT_SWITCHES[name] for name in self._variables})
                before = tuple(result.name for result in instrumented())
                made = instrument_all("auto", before)
                self._libraries = tuple(result.name for result in made if result.name not in before)
            self._users += 1

    def give_back(self) -> None:
        from pandaprobe_otel.bootstrap import CONTENT_SWITCHES
        from pandaprobe_otel.registry import uninstrument

        with self._lock:
            self._users -= 1
            if self._users > 0:
                return
            libraries, self._libraries = self._libraries, ()
            variables, self._variables = self._variables, ()
            if _somebody_sends():
                return
            for name in libraries:
                uninstrument(name)
            for name in variables:
                if os.environ.get(name) == CONTENT_SWITCHES[name]:
                    del os.environ[name]


_borrowed: Final = _Borrowed()


def _somebody_sends() -> bool:
    from pandaprobe_otel.bootstrap import current

    handle = current()
    return handle is not None and handle.enabled and not handle.is_shut_down


@contextmanager
def instrumentation() -> Generator[None]:
    """Instrument the supported libraries, with content, inside the block, and restore them after it."""
    _borrowed.take()
    try:
        yield
    finally:
        _borrowed.give_back()
