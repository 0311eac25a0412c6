"""A loopback server that plays OpenAI's WebSocket endpoints: it answers each message of the app by a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from websockets.sync.server import ServerConnection, serve

Answering = Callable[[dict[str, Any]], Sequence[Any]]
"""From a message of the app to the messages that answer it; None among them breaks the connection off."""


@contextmanager
def socket_server(answer: Answering, greeting: Sequence[Any] = ()) -> Iterator[str]:
    """The base URL for a client."""

    def handle(connection: ServerConnection) -> None:
        for message in greeting:
            connection.send(json.dumps(message))
        for sent in connection:
            for message in answer(json.loads(sent)):
                if message is None:
                    connection.socket.close()
                    return
                connection.send(json.dumps(message))

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        server.shutdown()
        thread.join()
