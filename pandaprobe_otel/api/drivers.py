"""Two loops that execute a course of steps: one blocks, one awaits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from typing import TypeVar

from pandaprobe_otel.api.call_steps import Pause, Step, Steps
from pandaprobe_otel.api.endpoint import Scope
from pandaprobe_otel.transport.http import AsyncHttpTransport, HttpTransport
from pandaprobe_otel.transport.request_outcome import Outcome

T = TypeVar("T")


class SyncDriver:
    """Driver that executes steps in the calling thread; any thread may use it."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[Scope, Mapping[str, str]],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transports = {scope: HttpTransport(base_url, own) for scope, own in headers.items()}
        self._sleep = sleep

    def run(self, steps: Steps[T]) -> T:
        """Execute a course and return its result; its exceptions are raised here."""
        with closing(steps):
            try:
                step = next(steps)
                while True:
                    step = steps.send(self._perform(step))
            except StopIteration as end:
                result: T = end.value
                return result

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        for transport in self._transports.values():
            transport.close()

    def reset_after_fork(self) -> None:
        """Leave the parent's connections alone in a forked child."""
        for transport in self._transports.values():
            transport.reset_after_fork()

    def _perform(self, step: Step) -> Outcome | None:
        if isinstance(step, Pause):
            self._sleep(step.seconds)
            return None
        return self._transports[step.scope].send(step.request)


class AsyncDriver:
    """Driver that executes steps in the running event loop. Cancelling the task ends the course at its step."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[Scope, Mapping[str, str]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transports = {scope: AsyncHttpTransport(base_url, own) for scope, own in headers.items()}
        self._sleep = sleep

    async def run(self, steps: Steps[T]) -> T:
        """Execute a course and return its result; its exceptions are raised here."""
        with closing(steps):
            try:
                step = next(steps)
                while True:
                    step = steps.send(await self._perform(step))
            except StopIteration as end:
                result: T = end.value
                return result

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        for transport in self._transports.values():
            await transport.close()

    async def _perform(self, step: Step) -> Outcome | None:
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        return await self._transports[step.scope].send(step.request)
