"""A request and its answer during the transfer, as the hooks report them. This module knows no HTTP library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.interactions import End, Interaction, RecordedRequest

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


class Keeper(Protocol):
    """Owner of an exchange."""

    def kept(self, size: int, /) -> bool:
        """Count saved bytes; return False if there are too many already."""
        ...

    def finished(self, exchange: Exchange, /) -> None:
        """Note that the answer has ended, in any way."""
        ...


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and its answer, which is either `played` from a cassette or saved as it arrives.

    The app's thread calls all methods, so each only stores a reference and the time. The first call of `ended`,
    `failed` or `left` ends the exchange.

    Attributes:
        number: The number of the call in its cassette.
        is_plain: True if the library has decompressed the answer already.
        instead: The request that the hook sends in place of the program's. None: it sends the program's.
    """

    keeper: Keeper
    clock: Callable[[], float]
    number: int
    request: RecordedRequest
    at: str = ""
    after: tuple[int, ...] = ()
    played: Interaction | None = None
    instead: RecordedRequest | None = None
    status: int = 0
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_plain: bool = False
    pieces: list[bytes] = field(default_factory=list[bytes])
    times: list[float] = field(default_factory=list[float])
    end: End | None = None
    error: str | None = None
    _last: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def answered(self, status: int, reason: str, headers: Mapping[str, str], *, is_plain: bool = False) -> None:
        """Note the arrival of the status line and the headers."""
        self.status, self.reason, self.headers, self.is_plain = status, reason, headers, is_plain

    def arrived(self, piece: bytes) -> None:
        """Note a piece of the answer, which the app receives now."""
        if piece and self.end is None and self.keeper.kept(len(piece)):
            now = self.clock()
            self.times.append((now - self._last) * 1000)
            self.pieces.append(piece)
            self._last = now

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


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a played answer, and the seconds to wait before it."""

    data: bytes
    wait_s: float


def pieces_of(interaction: Interaction, *, delays: bool) -> Iterator[Piece]:
    """Cut a recorded answer into the pieces in which it arrived."""
    answer = interaction.answer
    begin = 0
    for milliseconds, length in answer.chunks:
        piece = answer.body[begin : begin + length]
        begin += length
        if piece:
            yield Piece(piece, milliseconds / 1000 if delays else 0.0)
    if begin < len(answer.body):
        yield Piece(answer.body[begin:], 0.0)


def beyond(interaction: Interaction) -> RecordingError:
    """Return the error for an app that reads beyond the point where the recorded run stopped reading."""
    return RecordingError(
        f"The recorded answer of call {interaction.call} ends here: the recorded program stopped reading, but this "
        "one continues. Record it again (--pandaprobe-record=all, or mode='all')."
    )
