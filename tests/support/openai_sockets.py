"""A loopback server that plays OpenAI's WebSocket endpoints: a script answers each message of the app."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from websockets.sync.server import ServerConnection, serve

Answering = Callable[[dict[str, Any]], Sequence[Any]]
"""Returns the answers to a message of the app; an answer None breaks the connection off."""


@contextmanager
def socket_server(answer: Answering, greeting: Sequence[Any] = ()) -> Iterator[str]:
    """Yield the base URL for a client."""

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
