"""Observation of a WebSocket of the `websockets` library, whose type and methods stay unchanged."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol

from opentelemetry.context import get_current

from pandaprobe_otel.budgets import BudgetExceeded, holds_in, refusal_in
from pandaprobe_otel_integrations._budgets import is_counting
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http import HttpCall
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._spans import is_taken
from pandaprobe_otel_integrations._streams.body import End, ObservedBody
from pandaprobe_otel_integrations._streams.events import written


class Listener(Protocol):
    """A listener to a connection. Its exceptions do not reach the app."""

    def sent(self, message: Any) -> BudgetExceeded | None:
        """Note that the app is about to send this. Return the exception to raise if a budget refuses the call in it."""
        ...

    def received(self, message: Any) -> None:
        """Note that the app is about to get this."""
        ...

    def broken(self, error: Exception) -> None:
        """Note that waiting for a message has failed."""
        ...

    def end(self, how: End) -> None:
        """Note that the app is about to close the connection."""
        ...


def listen(connection: Any, listener: Listener) -> None:
    """Replace methods of the connection by ones that do the same and notify the listener, one at a time.

    A synchronous connection is read in one thread and written in others.
    """
    this, kind = weakref.ref(connection), connection.__class__
    lock = threading.RLock()

    def note(method: Callable[..., Any], *given: Any) -> Any:
        with lock:
            return guarded(method, *given)

    def send(message: Any, *args: Any, **kwargs: Any) -> Any:
        if (refusal := note(listener.sent, message)) is not None:
            raise refusal
        return kind.send(this(), message, *args, **kwargs)

    async def send_async(message: Any, *args: Any, **kwargs: Any) -> Any:
        return await send(message, *args, **kwargs)

    @contextmanager
    def waiting() -> Generator[None]:
        try:
            yield
        except Exception as error:
            note(listener.broken, error)
            raise

    def recv(*args: Any, **kwargs: Any) -> Any:
        with waiting():
            message = kind.recv(this(), *args, **kwargs)
        note(listener.received, message)
        return message

    async def recv_async(*args: Any, **kwargs: Any) -> Any:
        with waiting():
            message = await kind.recv(this(), *args, **kwargs)
        note(listener.received, message)
        return message

    def close(*args: Any, **kwargs: Any) -> Any:
        note(listener.end, "closed")
        return kind.close(this(), *args, **kwargs)

    connection.send, connection.recv, connection.close = send, recv, close
    if inspect.iscoroutinefunction(kind.recv):
        connection.send, connection.recv = send_async, recv_async


# -- calls on a connection that stays open: app and model take turns, and each turn of the model is a call -------------


class LiveCall:
    """The model's turn in progress, if any. `owner` is the object that the app reads through; it is not kept alive."""

    def __init__(self, recorder: Recorder, client: Any, place: Attributes, owner: Any) -> None:
        self._recorder = recorder
        self._client = client
        self._place = place
        self._owner = weakref.ref(owner)
        self._body: ObservedBody | None = None
        self._refusal: BudgetExceeded | None = None

    @property
    def goes_on(self) -> bool:
        """Return whether a turn is in progress."""
        return self._body is not None

    def begin(self, endpoint: Endpoint, body: Body) -> bool:
        """Start the model's turn with this request. Return False if it is not recorded, or if a turn is in progress.

        A budget may refuse it. The turn then ends at once, and `refusal` returns the exception.
        """
        context = get_current()
        owner = self._owner()
        if self._body is not None or owner is None or is_taken(context) or not self._recorder.gate(self._client):
            return False
        call = HttpCall(None, ModelCall(self._recorder, endpoint, body, self._place, context))
        self._body = call.read_through(owner, ObservedBody)
        self._refusal = guarded(refusal_in, holds_in(context)) if is_counting() else None
        if self._refusal is not None:
            self.broken(self._refusal)
        return True

    def refusal(self) -> BudgetExceeded | None:
        """Return, once, the exception of a turn that a budget has refused."""
        refusal, self._refusal = self._refusal, None
        return refusal

    def keep(self, message: bytes) -> None:
        """Record a JSON message of the service."""
        if self._body is not None:
            self._body.keep(written(message))

    def end(self, how: End) -> None:
        """End the turn."""
        body, self._body = self._body, None
        if body is not None:
            body.end(how)

    def broken(self, error: Exception) -> None:
        """End the turn because waiting for a message has failed."""
        if type(error).__name__ == "ConnectionClosedOK":
            self.end("closed")
        elif self._body is not None and not isinstance(error, (TypeError, TimeoutError)):
            # A TypeError is an argument that old versions do not know; a TimeoutError only means that the app stopped
            # waiting.
            self._body.end("failed", error)
            self._body = None
