"""A request and its answer during the transfer, as the hooks report them, and the interaction that is saved of them.

This module knows no HTTP library. Interactions have no compression: people read cassettes, and secrets must be found in
compressed bodies too.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast
from urllib.parse import urlencode

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.body_units import events_of
from pandaprobe_otel.replay.interactions import End, Interaction, RecordedAnswer, RecordedRequest

if TYPE_CHECKING:
    from pandaprobe_otel.replay.recording import Recording

_LAST_EVENTS: Final = (
    b"data: [DONE]",
    b'"message_stop"',
    b'"response.completed"',
    b'"response.incomplete"',
    b'"response.failed"',
    b'"message-end"',
)
"""End of a complete stream. Clients stop reading there, before the end of the body."""
_TAIL: Final = 128 << 10
"""Number of bytes at the end that contain the last event. In the Responses API, it repeats the whole answer."""
_RETRIED: Final = frozenset({408, 409, 425, 429})
_AT_ONCE: Final = {"retry-after-ms": "1", "retry-after": "0", "x-amz-retry-after": "1"}
"""Headers that tell clients how long to wait, in the order in which clients prefer them. Playback sets these short
waits.
"""
MAX_BYTES: Final = 256 << 20
"""Maximum number of bytes of a decompressed body. A small compressed body can become larger than memory."""


MakeError = Callable[[str, str], Exception]
"""Returns the library's exception with this recorded name and this text."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and its answer, which is either `played` from a cassette or saved as it arrives.

    The app's thread calls all methods, so each only stores a reference. The first call of `ended`, `failed` or `left`
    ends the exchange.

    Attributes:
        number: The number of the call in its cassette.
        is_plain: True if the library has decompressed the answer already.
        instead: The request that the hook sends in place of the program's. None: it sends the program's.
    """

    keeper: Recording
    number: int
    request: RecordedRequest
    at: str = ""
    after: tuple[int, ...] = ()
    task: int = 0
    follows: int = 0
    played: Interaction | None = None
    instead: RecordedRequest | None = None
    status: int = 0
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_plain: bool = False
    pieces: list[bytes] = field(default_factory=list[bytes])
    end: End | None = None
    error: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, status: int, reason: str, headers: Mapping[str, Any], *, is_plain: bool = False) -> None:
        """Note the arrival of the status line and the headers."""
        self.status, self.reason, self.headers, self.is_plain = status, reason, lower_case(headers), is_plain

    def arrived(self, piece: bytes) -> None:
        """Note a piece of the answer, which the app receives now."""
        if piece and self.end is None and self.keeper.kept(len(piece)):
            self.pieces.append(piece)

    def ended(self) -> None:
        """Note that the app has read the answer to its end."""
        self._finish("read")

    def failed(self, error: BaseException) -> None:
        """Note the library's exception, which ends the answer. An exception that is not a network error belongs to the
        app.
        """
        if isinstance(error, Exception):
            self._finish("broken", type(error).__name__)
        else:
            self.left()

    def left(self) -> None:
        """Note that the app has closed or dropped the answer."""
        self._finish("read" if self.end is None and self.status and self._is_whole() else "left")

    @contextmanager
    def watched(self) -> Generator[None]:
        """Return a block that sends the request or reads its answer. Its exception ends the exchange."""
        try:
            yield
        except BaseException as error:
            self.failed(error)
            raise

    def noted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the pieces of an answer as they arrive, and note them and their end."""
        with self.watched():
            for piece in pieces:
                self.arrived(piece)
                yield piece
        self.ended()

    def playback(self, error: MakeError) -> Iterator[bytes]:
        """Yield the events of the recorded answer, which then ends as the recorded one did.

        `error` returns the library's exception by its recorded name, with a text. Raises that exception, also before
        the first piece if there was no answer, and RecordingError if the app reads beyond the point where the recorded
        run stopped.
        """
        assert self.played is not None
        answer = self.played.answer
        yield from events_of(answer.body, answer.headers.get("content-type", ""))
        if answer.end == "broken":
            self._fail_as(error)
        if answer.end == "left":
            self.keeper.fail(
                RecordingError(
                    f"The recorded answer of call {self.number} ends here: the recorded program stopped reading, but "
                    "this one continues. Record it again (--pandaprobe-record=all, or mode='all')."
                )
            )
        self.ended()

    def played_answer(self, error: MakeError) -> RecordedAnswer:
        """Return the recorded answer. Raises the library's exception if there was none."""
        assert self.played is not None
        if not self.played.answer.status:
            self._fail_as(error)
        return self.played.answer

    def _fail_as(self, error: MakeError) -> NoReturn:
        """Raise the recorded exception."""
        assert self.played is not None
        name = self.played.answer.error or ""
        raised = error(name, self.played.answer.fault or f"{name}, as recorded")
        self.failed(raised)
        raise raised

    def _finish(self, end: End, error: str | None = None) -> None:
        with self._lock:
            if self.end is not None:
                return
            self.end, self.error = end, error
        self.keeper.finished(self)

    def _is_whole(self) -> bool:
        if self.played is not None:
            return True
        length = self.headers.get("content-length", "")
        if length.isdecimal():
            return sum(map(len, self.pieces)) >= int(length)
        tail = b""
        for piece in reversed(self.pieces):
            tail = piece + tail
            if len(tail) > _TAIL:
                break
        return any(event in tail for event in _LAST_EVENTS)

    def interaction(self) -> Interaction:
        """Return the interaction, with its secrets. Raises RecordingError.

        An answer that cannot be decompressed cannot be scrubbed, so it is not saved.
        """
        body = b"".join(self.pieces)
        headers = {name: value for name, value in self.headers.items() if name != "content-length"}
        encoding = headers.pop("content-encoding", "")
        if encoding and not self.is_plain and body:
            try:
                body = decompress(body, encoding)
            except UnreadableError as error:
                raise RecordingError(f"The answer of call {self.number} cannot be saved: {error}.") from error
        answer = RecordedAnswer(self.status, self.reason, headers, body, self.end or "left", self.error)
        request = plain_request(self.request)
        return Interaction(self.number, request, answer, self.at, self.after, self.task, self.follows)


def request_of(method: str, uri: str, headers: Mapping[Any, Any], body: Any) -> RecordedRequest:
    """Return a request that a library is about to send. Raises RecordingError for a body that can be read only once."""
    return RecordedRequest(method.upper(), uri, lower_case(headers), _bytes_of(body))


def _bytes_of(body: Any) -> bytes:
    """Return the bytes of a body, and restore the position of a file."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray)):
        return bytes(body)
    if isinstance(body, Mapping):
        return urlencode(cast("Mapping[str, str]", body), doseq=True).encode()
    if hasattr(body, "read") and hasattr(body, "seek") and hasattr(body, "tell"):
        place = body.tell()
        content = _bytes_of(body.read())
        body.seek(place)
        return content
    raise RecordingError(
        f"A request whose body is a {type(body).__name__} cannot be recorded: it can be read only once. "
        "Pass bytes to the client, or exclude its host with ignore=['https://that.host']."
    )


def lower_case(headers: Mapping[Any, Any]) -> dict[str, str]:
    """Return headers as texts with names in lower case. botocore has values in bytes."""
    return {
        str(name).lower(): value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for name, value in headers.items()
    }


def plain_request(sent: RecordedRequest) -> RecordedRequest:
    """Return a request without compression. Raises RecordingError if its encoding cannot be read."""
    encoding = sent.headers.get("content-encoding", "")
    if not encoding or not sent.body:
        return sent
    try:
        body = decompress(sent.body, encoding)
    except UnreadableError as error:
        raise RecordingError(f"A request to {sent.uri.partition('?')[0]} cannot be recorded: {error}.") from error
    return replace(sent, body=body, headers={k: v for k, v in sent.headers.items() if k != "content-encoding"})


def without_waiting(interaction: Interaction) -> Interaction:
    """Return the answer to play back, changed so that clients retry without waiting."""
    answer = interaction.answer
    if answer.status < 500 and answer.status not in _RETRIED:
        return interaction
    return replace(interaction, answer=replace(answer, headers={**answer.headers, **_AT_ONCE}))


# -- compression -------------------------------------------------------------------------------------------------------

_Step = Callable[[bytes], bytes]
_STEP: Final = 64 << 10
"""Bytes that are decompressed at once, so that a small body that becomes very large is noticed early."""


class UnreadableError(Exception):
    """Error for a body that does not match its encoding, or whose encoding cannot be read here."""


def decompress(body: bytes, encoding: str) -> bytes:
    """Return a body without its encodings. An incomplete one is read as far as possible. Raises UnreadableError."""
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in ("", "identity"):
            continue
        step = _decompressor(name, body)
        pieces: list[bytes] = []
        size = 0
        for begin in range(0, len(body), _STEP):
            try:
                pieces.append(step(body[begin : begin + _STEP]))
            except Exception as error:
                raise UnreadableError(f"it is not {name}: {error}") from error
            size += len(pieces[-1])
            if size > MAX_BYTES:
                raise UnreadableError(f"it has more than {MAX_BYTES >> 20} MB")
        body = b"".join(pieces)
    return body


def _decompressor(name: str, body: bytes) -> _Step:
    """Return a decompressor that works piece by piece."""
    if name in ("gzip", "x-gzip"):
        return _bounded(zlib.decompressobj(zlib.MAX_WBITS | 16))
    if name == "deflate":  # With or without zlib's header, since both occur.
        is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return _bounded(zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS))
    if name == "br":
        decompressor = _first("brotli", "brotlicffi").Decompressor()
        step: _Step = getattr(decompressor, "process", None) or decompressor.decompress
        return step
    if name == "zstd":
        module = _first("compression.zstd", "backports.zstd", "zstandard")
        if module.__name__ != "zstandard":
            return _bounded(module.ZstdDecompressor())
        other: _Step = module.ZstdDecompressor().decompressobj().decompress
        return other
    raise UnreadableError(f"its encoding {name!r} is not known")


def _bounded(decompressor: Any) -> _Step:
    return lambda piece: bytes(decompressor.decompress(piece, MAX_BYTES + 1))


def _first(*modules: str) -> Any:
    """Return the first of these modules that is installed. The client has one, since it offered the encoding."""
    for name in modules:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise UnreadableError(f"none of {', '.join(modules)} is installed")
