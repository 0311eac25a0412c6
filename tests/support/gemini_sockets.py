"""A loopback server that plays Gemini's live API: a script answers each message of the app."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import trustme
from google import genai
from websockets.asyncio.server import serve

Script = Sequence[Sequence[Any]]
"""The server's messages, one batch after each message of the app."""


@cache
def _certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return TLS contexts for the server, and for the client that trusts it."""
    authority = trustme.CA()
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(here)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return here, trust


@asynccontextmanager
async def live_client(script: Script, *, leaves: bool = False) -> AsyncIterator[genai.Client]:
    """Yield a client whose server follows the script; with `leaves`, the server then breaks the connection off."""
    here, trust = _certificates()

    async def handle(connection: Any) -> None:
        await connection.recv()
        await connection.send(json.dumps({"setupComplete": {}}))
        for batch in script:
            await connection.recv()
            for message in batch:
                await connection.send(json.dumps(message))
        if leaves:
            connection.transport.abort()
        else:
            await connection.wait_closed()

    async with serve(handle, "localhost", 0, ssl=here) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        options: Any = {
            "base_url": f"https://localhost:{port}",
            "client_args": {"verify": trust},
            "async_client_args": {"verify": trust, "ssl": trust},
        }
        client = genai.Client(api_key="none", vertexai=False, http_options=options)
        yield client
        await client.aio.aclose()
        client.close()
