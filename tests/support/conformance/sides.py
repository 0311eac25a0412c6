"""The clients of an adapter with the same methods, so that one test uses both, and a context that records calls."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import pytest

from library_members import skip_without
from pandaprobe_otel.registry import instrument, uninstrument
from provider_server import ProviderServer
from span_recorder import SpanRecorder
from streamed_forms import ENDINGS, Opened, Sighting, finished, look, settled, sighted

from .adapter import Adapter
from .cases import Case, look_at_call

T = TypeVar("T")
PATIENCE_S: Final = 60.0
SIDES: Final = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One open client of an adapter, and the event loop of an asynchronous one."""

    adapter: Adapter
    client: Any
    asynchronous: bool
    runner: asyncio.Runner

    @classmethod
    @contextmanager
    def opened(
        cls, adapter: Adapter, asynchronous: bool, url: str, timeout_s: float, runner: asyncio.Runner
    ) -> Iterator[Side]:
        """Open a client of the server at this URL."""
        if not asynchronous:
            with adapter.client(url, timeout_s) as client:
                yield cls(adapter=adapter, client=client, asynchronous=False, runner=runner)
            return
        if adapter.async_client is None:
            pytest.skip("the library has no such client")
        manager = adapter.async_client(url, timeout_s)
        yield cls(adapter=adapter, client=runner.run(manager.__aenter__()), asynchronous=True, runner=runner)
        runner.run(manager.__aexit__(None, None, None))

    def of(self, adapter: Adapter) -> Side:
        """Return the same client with an adapter that has other answers."""
        return replace(self, adapter=adapter)

    def need(self, *names: str) -> None:
        """Skip the test if the installed client lacks one of these calls or forms."""
        for beginning, path in self.adapter.needs.items():
            if any(name.startswith(beginning) for name in names):
                skip_without(self.client, path)

    def _run(self, steps: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(steps) if self.asynchronous else finished(steps)

    def call(self, name: str, cancelled_at: ProviderServer | None = None) -> Sighting:
        """Make a call that is answered in one piece; cancel it once it has reached `cancelled_at`."""
        return self._run(look_at_call(self.adapter.calls[name], self.client, cancelled_at))

    def end(self, case: Case, name: str) -> Sighting:
        """Open a stream and end it with the ending of the case."""
        return self._run(look(ENDINGS[case.ending], self.adapter.forms[name], self.client))

    def read(self, name: str) -> Sighting:
        """Open a stream, read all of it and leave it: faster than `end`."""
        return self._run(sighted(self.adapter.forms[name], self.client))

    def collect(self, recorder: SpanRecorder) -> None:
        """Collect garbage until a span has ended: google-genai's stream, having raised, is in a reference cycle.

        A thread ends the span of a collected stream, perhaps not at once.
        """
        deadline = time.monotonic() + PATIENCE_S
        while self.asynchronous and not recorder.spans and time.monotonic() < deadline:
            gc.collect()
            self.runner.run(asyncio.sleep(0))

    def open(self, name: str) -> Opened:
        """Open a stream that the test reads itself."""

        opened = self._run(self.adapter.forms[name](self.client, Sighting()))
        if not self.asynchronous:
            return opened

        async def following(items: Any) -> Any:
            return await anext(items, self)

        def items() -> Iterator[Any]:
            source = aiter(opened.items)
            while (item := self.runner.run(following(source))) is not self:
                yield item

        async def leave() -> None:
            await settled(opened.leave())

        return Opened(items(), lambda: self.runner.run(leave()), opened.reads)


@contextmanager
def recorded(adapter: Adapter, recorder: SpanRecorder) -> Iterator[None]:
    """Record the calls of the library, and of the libraries that it calls, within the block."""
    names = (adapter.integration, *adapter.also)
    try:
        for name in names:
            assert instrument(name, tracer_provider=recorder.provider).state == "hooked"
        yield
    finally:
        for name in names:
            uninstrument(name)


def await_span(recorder: SpanRecorder) -> None:
    """Wait for a span: the threads of a library may hold a forgotten stream a moment longer than the app."""
    deadline = time.monotonic() + PATIENCE_S
    while not recorder.spans and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.005)
