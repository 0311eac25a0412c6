"""Silent connections. They are closed after a time, and the oldest are closed if new ones need room."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

SILENT_S: Final = 10.0
"""Maximum seconds between two requests, and from the connection to the headers of its first request."""
MOST_SILENT: Final = 300
"""Maximum number of silent connections. A process may open about a thousand files by default."""

_Base: Any = AutoHTTPProtocol


def connections(*, silent_s: float = SILENT_S, most_silent: int = MOST_SILENT) -> type[asyncio.Protocol]:
    """Return Uvicorn's protocol with these bounds, for one server."""
    silent: dict[Any, asyncio.TimerHandle] = {}  # oldest first

    class Connection(_Base):
        """A connection, which is silent except while the app handles its request."""

        app: Any
        loop: Any
        transport: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            _Base.__init__(self, *args, **kwargs)
            self._served = self.app
            self.app = self._serve

        def connection_made(self, transport: Any) -> None:
            """Start waiting for a request."""
            _Base.connection_made(self, transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            """Stop waiting."""
            self._stop_waiting()
            _Base.connection_lost(self, exc)

        async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
            self._stop_waiting()
            try:
                await self._served(scope, receive, send)
            finally:
                if not self.transport.is_closing():
                    self._wait()

        def _wait(self) -> None:
            silent[self] = self.loop.call_later(silent_s, self.transport.close)
            if len(silent) > most_silent:
                oldest = next(iter(silent))
                oldest._stop_waiting()
                oldest.transport.close()

        def _stop_waiting(self) -> None:
            timer = silent.pop(self, None)
            if timer is not None:
                timer.cancel()

    return cast("type[asyncio.Protocol]", Connection)
