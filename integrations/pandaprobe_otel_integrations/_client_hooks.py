"""Hooks on the functions of a client that send its requests: which are model calls, and how each is recorded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, get_current

from pandaprobe_otel_integrations._spans import is_taken

from ._budgets import is_counting, permitted
from ._endpoint import Attributes, Body, Endpoint
from ._guard import guarded
from ._http import CountedCall, HttpCall, Opened, around, around_async, show_response
from ._model_call import UNSEEN, ModelCall, Recorder
from ._patching import OriginalCall
from ._tool_loop import begin_hop


class ClientHooks(ABC):
    """Wrappers of functions, usually of an instrumentor. `_recorder.gate` decides per call whether it is recorded."""

    _recorder: Recorder

    @abstractmethod
    def find(self, original: OriginalCall) -> Any:
        """Return what `read` needs of a request that is a model call; None for any other request."""

    @abstractmethod
    def read(self, original: OriginalCall, found: Any) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the JSON that is sent, and the attributes of provider and server."""

    def show(self, call: HttpCall, result: Any) -> None:
        """Show the result of the client's function to the call. Here, it is an HTTP response, even a refused one."""
        show_response(call, result)

    def call(self, original: OriginalCall) -> Any:
        """Wrap the synchronous function that sends a request."""
        return around(guarded(self.open, original), self._permitted(original), show=self.show)

    async def call_async(self, original: OriginalCall) -> Any:
        """Wrap the asynchronous function. As in the original, nothing happens before it is awaited."""
        return await around_async(guarded(self.open, original), self._permitted(original), show=self.show)

    def stream(self, original: OriginalCall) -> Any:
        """Wrap a function that returns the context manager of a streamed response, which the app never sees itself."""
        return Streaming(original(), lambda: guarded(self.open, original), lambda: self.find(original))

    def _permitted(self, original: OriginalCall) -> Callable[[], Any]:
        return permitted(original, lambda: self.find(original))

    def open(self, original: OriginalCall, context: Context | None = None) -> Opened | None:
        """Begin the model call of a request; None if it is none, or if another span records it."""
        if context is None:
            context = get_current()
        found = self.find(original)
        if found is None or is_taken(context) or not self._recorder.gate(original.owner):
            return self._counted(original, found, context)
        endpoint, body, place = self.read(original, found)
        call = HttpCall(original.owner, begin_hop(self._recorder, endpoint, body, place, context))
        return call, call.context(context)

    def _counted(self, original: OriginalCall, found: Any, context: Context) -> Opened | None:
        """Return a call without a span of its own, whose tokens count in a budget; None outside of a budget."""
        if found is None or getattr(found, "is_news", None) is not None or not is_counting():
            return None
        call = CountedCall(original.owner, ModelCall(UNSEEN, *self.read(original, found), context))
        return call, call.context(context)


class Streaming:
    """A stand-in for the context manager of a streamed response, of either kind. Entering it makes the call."""

    def __init__(self, manager: Any, open_call: Callable[[], Opened | None], find: Callable[[], object]) -> None:
        self._manager = manager
        self._open_call = open_call
        self._find = find

    def __enter__(self) -> Any:
        return around(self._open_call(), permitted(self._manager.__enter__, self._find), show=show_response)

    def __exit__(self, *error: Any) -> Any:
        return self._manager.__exit__(*error)

    async def __aenter__(self) -> Any:
        return await around_async(
            self._open_call(), permitted(self._manager.__aenter__, self._find), show=show_response
        )

    async def __aexit__(self, *error: Any) -> Any:
        return await self._manager.__aexit__(*error)
