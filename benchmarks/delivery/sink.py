"""A server that accepts everything: PandaProbe's POST /traces and OTLP's POST /v1/traces.

Control: /_mode/ok, /_mode/stall, /_stats, /_reset.

    python sink.py [MARK]    prints its URL

Spans are counted by their ids, or by a text that only the counted spans have. The server answers requests at once. If
it is stalled, it answers when the mode is `ok` again.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

ACCEPTED = b'{"trace_id":"00000000-0000-0000-0000-000000000000","task_id":"00000000-0000-0000-0000-000000000001"}'


class Sink:
    """A counter of requests, bytes and the spans of PandaProbe's bodies."""

    def __init__(self, mark: bytes = b'"span_id":') -> None:
        self.mark = mark
        self.requests = self.bytes = self.spans = 0
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path = head.split(b" ", 2)[:2]
                body = await reader.readexactly(int(*re.findall(rb"(?i)\ncontent-length: *(\d+)", head) or [0]))
                if path.startswith(b"/_"):
                    answer = self.control(path.decode())
                else:
                    await self.is_open.wait()
                    self.requests += 1
                    self.bytes += len(head) + len(body)
                    self.spans += body.count(self.mark)
                    answer = b"" if path == b"/v1/traces" else ACCEPTED
                status = b"200 OK" if path != b"/traces" or method != b"POST" else b"202 Accepted"
                writer.write(
                    b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (status, len(answer), answer)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def control(self, path: str) -> bytes:
        if path == "/_mode/stall":
            self.is_open.clear()
        elif path == "/_mode/ok":
            self.is_open.set()
        elif path == "/_reset":
            self.requests = self.bytes = self.spans = 0
        return json.dumps({"requests": self.requests, "bytes": self.bytes, "spans": self.spans}).encode()


async def main() -> None:
    sink = Sink(*(mark.encode() for mark in sys.argv[1:]))
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=1 << 26)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
