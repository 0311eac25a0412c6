"""Addresses of the pages of traces.

A local server states where its pages are. Addresses of the hosted PandaProbe contain identifiers that its API does not
state, so they are unknown unless the user sets one: no address is better than a wrong one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TextIO
from urllib.parse import quote

from pandaprobe_otel.transport.local_server import abilities_at

_OF_ADDRESSES: Final = "%:/?#[]@!$&'()*+,;="
"""Characters with a meaning in an address, which are not escaped. Control characters of terminals are not among them.
"""

_ASK_AGAIN_S: Final = 30.0
"""Shortest time between two requests to a server that did not state where its pages are."""

_APP_WAITS_S: Final = 1.0


def trace_template(endpoint: str | None, *, named: str | None, timeout_s: float = 10.0) -> str | None:
    """Return the address of a trace's page, with `{trace_id}` in it; None if none is known.

    named: the setting `trace_url`, which is used unchanged. Otherwise a local server at the endpoint is asked.
    """
    if named is not None or endpoint is None:
        return named
    found = abilities_at(endpoint, timeout_s=timeout_s)
    return None if found is None or found.trace_page is None else f"{endpoint}{found.trace_page}"


def page_of(trace_id: str, template: str | None) -> str | None:
    """Return the address of one trace's page; None if it is not a web address: a report may come from anybody."""
    if template is None or not template.startswith(("http://", "https://")):
        return None
    return quote(template.replace("{trace_id}", trace_id), safe=_OF_ADDRESSES)


class TracePages:
    """Pages of the traces that are sent to one endpoint. The server is asked on the first use. Thread-safe."""

    def __init__(
        self, endpoint: str | None, *, named: str | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._endpoint = endpoint
        self._template = named
        self._monotonic = monotonic
        self._asked_at: float | None = None
        self._lock = threading.Lock()

    def report_end(self, newest: str, traces: int, terminal: TextIO | None) -> None:
        """Write where the newest of so many traces is, if the stream is a terminal."""
        if _is_terminal(terminal) and (page := self.page(newest)) is not None and terminal is not None:
            named = "1 trace" if traces == 1 else f"{traces} traces, the newest is"
            terminal.write(f"PandaProbe: {named} at {page}\n")

    def page(self, trace_id: str) -> str | None:
        """Return the address of a trace's page; None if it is not known."""
        with self._lock:
            now = self._monotonic()
            if self._template is None and (self._asked_at is None or now - self._asked_at >= _ASK_AGAIN_S):
                self._asked_at = now
                self._template = trace_template(self._endpoint, named=None, timeout_s=_APP_WAITS_S)
        return page_of(trace_id, self._template)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # the app has closed it
        return False
