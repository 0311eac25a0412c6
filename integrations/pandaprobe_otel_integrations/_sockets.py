"""Observation of a WebSocket of the `websockets` library, whose type and methods stay unchanged."""

from __future__ import annotations

import inspect
import weakref
from typing import Any, Protocol

from ._guard import guarded


class Listener(Protocol):
    """A listener to a connection. Its exceptions do not reach the app."""

    def sent(self, message: Any) -> None:
        """Note that the app is about to send this."""
        ...

    def received(self, message: Any) -> None:
        """Note that the app is about to get this."""
        ...

    def broken(self, error: Exception) -> None:
        """Note that waiting for a message has failed."""
        ...

    def closed(self) -> None:
        """Note that the app is about to close the connection."""
        ...


def listen(connection: Any, listener: Listener) -> None:
    """Replace methods of the connection by ones that do the same and notify the listener."""
    kind = connection.__class__
    if inspect.iscoroutinefunction(kind.recv):
        _listen_async(connection, kind, listener)
    else:
        _listen(connection, kind, listener)


def _listen(connection: Any, kind: Any, listener: Listener) -> None:
    this = weakref.ref(connection)

    def send(message: Any, *args: Any, **kwargs: Any) -> Any:
        guarded(listener.sent, message)
        return kind.send(this(), message, *args, **kwargs)

    def recv(*args: Any, **kwargs: Any) -> Any:
        try:
            message = kind.recv(this(), *args, **kwargs)
        except Exception as error:
            guarded(listener.broken, error)
            raise
        guarded(listener.received, message)
        return message

    def close(*args: Any, **kwargs: Any) -> Any:
        guarded(listener.closed)
        return kind.close(this(), *args, **kwargs)

    connection.send, connection.recv, connection.close = send, recv, close


def _listen_async(connection: Any, kind: Any, listener: Listener) -> None:
    this = weakref.ref(connection)

    async def send(message: Any, *args: Any, **kwargs: Any) -> Any:
        guarded(listener.sent, message)
        return await kind.send(this(), message, *args, **kwargs)

    async def recv(*args: Any, **kwargs: Any) -> Any:
        try:
            message = await kind.recv(this(), *args, **kwargs)
        except Exception as error:
            guarded(listener.broken, error)
            raise
        guarded(listener.received, message)
        return message

    async def close(*args: Any, **kwargs: Any) -> Any:
        guarded(listener.closed)
        return await kind.close(this(), *args, **kwargs)

    connection.send, connection.recv, connection.close = send, recv, close
