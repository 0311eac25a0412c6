"""A small HTTP endpoint that plays a language model from a script: real sockets, no key, no cost.

It serves the chat operation of every protocol in `protocols/`, as a whole and streamed. Clients work as they do with
the service. The same conversation always gets the same answer.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self, cast

from pandaprobe_otel.protocols import known
from pandaprobe_otel.protocols.chat import CHAT
from pandaprobe_otel.protocols.conversation import Message, text_of
from pandaprobe_otel.protocols.encoding import JSON
from pandaprobe_otel.protocols.protocol import ParsedRequest, Protocol
from pandaprobe_otel.protocols.scripted import Reply, Script, ToolCall, Usage, answer_of

__all__ = ["Exchange", "Message", "Refusal", "Reply", "Script", "ScriptedEndpoint", "ToolCall", "Usage", "text_of"]


class Refusal(Exception):
    """Exception that a script raises so that the endpoint answers with this HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An answered request, as a reference for its trace."""

    request: Mapping[str, Any]
    """The body of the request."""
    conversation: Sequence[Message]
    """The request's messages in the form of chat completions."""
    reply: Reply
    usage: Usage
    model: str
    response_id: str
    streamed: bool
    """True if the answer was a stream of chunks."""


class ScriptedEndpoint:
    """The endpoint, which serves on a free loopback port from `__enter__` to `__exit__`.

    `seconds_per_chunk` is the pause before each chunk of a stream. Errors have the service's format: 400 for an invalid
    body or an unknown conversation, 404 for an unknown path, and the script's own error if it raises Refusal.
    """

    def __init__(self, script: Script, *, port: int = 0, seconds_per_chunk: float = 0.0) -> None:
        self._script = script
        self._seconds_per_chunk = seconds_per_chunk
        self._exchanges: list[Exchange] = []
        self._asked = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._serve, name="scripted-endpoint", daemon=True)

    @property
    def url(self) -> str:
        """Base URL for a client of Anthropic or Google (or for `ANTHROPIC_BASE_URL` and similar variables)."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        """`base_url` of an OpenAI client (or the value of `OPENAI_BASE_URL`)."""
        return f"{self.url}/v1"

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Every answered request so far, in order."""
        with self._lock:
            return tuple(self._exchanges)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, parsed: ParsedRequest, protocol: Protocol, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call the script, record the exchange, and return the answer without streaming.

        Raises ValueError if the protocol finds no conversation in the request, and the script's own exceptions.
        """
        with self._lock:
            self._asked += 1
            number = self._asked
        made = answer_of(self._script, parsed, body, number=number)
        exchange = Exchange(
            request=body,
            conversation=made.messages,
            reply=made.reply,
            usage=made.usage,
            model=made.answer.model,
            response_id=made.answer.response_id,
            streamed=parsed.is_stream,
        )
        with self._lock:
            self._exchanges.append(exchange)
        return protocol.write_answer(made.answer)

    def pause(self) -> None:
        """Wait for the pause before a chunk."""
        if self._seconds_per_chunk:
            time.sleep(self._seconds_per_chunk)

    def _serve(self) -> None:
        # Otherwise, `shutdown` waits for the default of half a second.
        self._server.serve_forever(poll_interval=0.02)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], endpoint: ScriptedEndpoint) -> None:
        super().__init__(address, _Handler)
        self.endpoint = endpoint

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # Clients may disconnect at any time.
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout: ClassVar[float | None] = 30.0
    disable_nagle_algorithm = True  # Otherwise, each answer waits 40 ms for the client's delayed acknowledgement.

    @property
    def _endpoint(self) -> ScriptedEndpoint:
        return cast("_Server", self.server).endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = _json_object(body)
        parsed = known.read_request(self.path.partition("?")[0], content)
        protocol = parsed.wire if parsed else None
        if parsed is None or protocol is None or parsed.operation not in protocol.chat_operations:
            self._refuse(CHAT, 404, f"Unknown request URL: POST {self.path}")
            return
        try:
            answer = self._endpoint.answer(parsed, protocol, content)
        except ValueError as error:
            self._refuse(protocol, 400, str(error))
        except LookupError as error:
            self._refuse(protocol, 400, f"The script has no answer to this conversation: {error}")
        except Refusal as refusal:
            self._refuse(protocol, refusal.status, refusal.message)
        else:
            if parsed.is_stream:
                self._stream(protocol, answer)
            else:
                self._send_json(200, answer)

    def do_GET(self) -> None:
        self._refuse(CHAT, 404, f"Unknown request URL: GET {self.path}")

    def log_message(self, format: str, *args: Any) -> None:
        return  # The exchanges are the log.

    def _stream(self, protocol: Protocol, answer: Mapping[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", protocol.streamed_as)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for chunk in protocol.write_stream(answer):
                self._endpoint.pause()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # The client disconnected before the end.

    def _refuse(self, protocol: Protocol, status: int, message: str) -> None:
        self._send_json(status, protocol.refusal(status, message))

    def _send_json(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _json_object(body: bytes) -> dict[str, Any]:
    """Return the body's JSON object; empty if it has none."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
