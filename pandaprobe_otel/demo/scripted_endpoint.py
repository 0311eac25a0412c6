"""A small HTTP endpoint that plays a language model from a script: real sockets, no key, no cost.

It implements OpenAI's chat completions and Responses, Anthropic's messages and Gemini's generateContent (`protocols`),
each as a whole and streamed as server-sent events. Clients work as they do with the service. The same conversation
always gets the same answer.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self, cast

from pandaprobe_otel.demo.completions import Message as Message
from pandaprobe_otel.demo.completions import Refusal, Reply, Usage
from pandaprobe_otel.demo.protocols import CHAT_COMPLETIONS, Protocol, Said, spoken_at

Script = Callable[[Sequence[Message]], Reply]
"""Returns the reply to the messages of a request, which have the form of chat completions in any protocol.

It raises LookupError for an unknown conversation, and Refusal to answer with an HTTP error.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An answered request, as a reference for its trace."""

    request: Mapping[str, Any]
    conversation: Sequence[Message]
    """The request's messages in the form of chat completions."""
    protocol: Protocol
    reply: Reply
    usage: Usage
    model: str
    response_id: str

    @property
    def streamed(self) -> bool:
        """True if the answer was a stream of chunks."""
        return bool(self.request.get("stream"))

    @property
    def wants_usage(self) -> bool:
        """True if the request asks for usage in a streamed answer (`stream_options.include_usage`)."""
        options: Any = self.request.get("stream_options")
        return isinstance(options, dict) and bool(cast("dict[str, Any]", options).get("include_usage"))

    @property
    def said(self) -> Said:
        """The answer, independent of the protocol."""
        return Said(
            response_id=self.response_id,
            model=self.model,
            reply=self.reply,
            usage=self.usage,
            wants_usage=self.wants_usage,
        )


class ScriptedEndpoint:
    """The endpoint, which serves on a free loopback port from `__enter__` to `__exit__`.

    `seconds_per_chunk` is the pause before each chunk of a stream. Errors have the service's format: 400 for an invalid
    body or an unknown conversation, 404 for an unknown path, and the script's own error if it raises Refusal.
    """

    def __init__(self, script: Script, *, port: int = 0, seconds_per_chunk: float = 0.0) -> None:
        self._script = script
        self._seconds_per_chunk = seconds_per_chunk
        self._exchanges: list[Exchange] = []
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

    def answer(self, request: Mapping[str, Any], protocol: Protocol = CHAT_COMPLETIONS) -> Exchange:
        """Call the script and record the exchange.

        Raises ValueError if the protocol finds no conversation in the request, and the script's own exceptions.
        """
        messages = protocol.conversation(request) if "model" in request else None
        if messages is None:
            raise ValueError(f"The body must be {protocol.expects}.")
        reply = self._script(messages)
        with self._lock:
            exchange = Exchange(
                request=request,
                conversation=messages,
                protocol=protocol,
                reply=reply,
                usage=Usage.of(messages, reply),
                model=str(request["model"]),
                response_id=f"{protocol.id_prefix}scripted{len(self._exchanges) + 1}",
            )
            self._exchanges.append(exchange)
        return exchange

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
        spoken = spoken_at(self.path.partition("?")[0])
        if spoken is None:
            self._refuse(CHAT_COMPLETIONS, 404, f"Unknown request URL: POST {self.path}")
            return
        protocol, request_in_path = spoken
        try:
            exchange = self._endpoint.answer({**_json_object(body), **request_in_path}, protocol)
        except ValueError as error:
            self._refuse(protocol, 400, str(error))
        except LookupError as error:
            self._refuse(protocol, 400, f"The script has no answer to this conversation: {error}")
        except Refusal as refusal:
            self._refuse(protocol, refusal.status, refusal.message)
        else:
            if exchange.streamed:
                self._stream(exchange)
            else:
                self._send_json(200, protocol.document(exchange.said))

    def do_GET(self) -> None:
        self._refuse(CHAT_COMPLETIONS, 404, f"Unknown request URL: GET {self.path}")

    def log_message(self, format: str, *args: Any) -> None:
        return  # The exchanges are the log.

    def _stream(self, exchange: Exchange) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        protocol = exchange.protocol
        try:
            for event in protocol.events(exchange.said):
                self._endpoint.pause()
                name = f"event: {event['type']}\n" if protocol.named else ""
                self._send_event(f"{name}data: {json.dumps(event)}\n\n")
            if protocol.last is not None:
                self._send_event(f"data: {protocol.last}\n\n")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # The client disconnected before the end.

    def _send_event(self, text: str) -> None:
        event = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))

    def _refuse(self, protocol: Protocol, status: int, message: str) -> None:
        self._send_json(status, protocol.refusal(status, message))

    def _send_json(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
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
