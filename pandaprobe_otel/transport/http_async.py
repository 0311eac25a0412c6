"""Transport with httpx for asyncio: the counterpart of `HttpTransport`."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pandaprobe_otel.transport.request_outcome import NoAnswer, Outcome, Request, describe
from pandaprobe_otel.transport.server_text import Redaction

if TYPE_CHECKING:
    import httpx


class AsyncHttpTransport:
    """Transport below one endpoint with fixed headers. Never raises or follows a redirect.

    Connections belong to the event loop and the process that opened them. Another loop (a second `asyncio.run`) or a
    forked child opens new ones and leaves the old ones alone.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._headers = {**headers, "Content-Type": "application/json"}
        self._redaction = Redaction()
        self._redaction.learn(headers)
        self._client: httpx.AsyncClient | None = None
        self._home: tuple[weakref.ref[asyncio.AbstractEventLoop], int] | None = None

    async def send(self, request: Request) -> Outcome:
        """Send one request; return an `Answer` for any status, and a `NoAnswer` in all other cases."""
        return self._redaction.applied_to(await self._send(request))

    async def _send(self, request: Request) -> Outcome:
        try:
            from pandaprobe_otel.transport import httpx_outcomes
        except ImportError as error:  # an app may have only httpx2
            return NoAnswer(reason=describe(error), may_have_arrived=False)
        try:
            with httpx_outcomes.Quiet():
                response = await self._connected().request(
                    request.method,
                    self._endpoint + request.path,
                    content=request.body,
                    timeout=httpx_outcomes.timeout(request),
                )
        except httpx_outcomes.FAILURES as error:
            return httpx_outcomes.no_answer(error)
        return httpx_outcomes.answer_of(response, response.content)

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._at_home():
            from pandaprobe_otel.transport import httpx_outcomes

            with httpx_outcomes.Quiet():
                await client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        """Return the client. Before version 0.28, httpx logs that it loads certificates, so call this under `Quiet`."""
        if self._client is None or not self._at_home():
            import httpx

            from pandaprobe_otel.transport import httpx_outcomes

            self._home = (weakref.ref(asyncio.get_running_loop()), os.getpid())
            self._client = httpx.AsyncClient(
                headers=self._headers, follow_redirects=False, limits=httpx_outcomes.LIMITS
            )
        return self._client

    def _at_home(self) -> bool:
        return self._home is not None and self._home[0]() is asyncio.get_running_loop() and self._home[1] == os.getpid()
