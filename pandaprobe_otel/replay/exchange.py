"""One request on its way, and its answer as it comes: what the hooks tell a recording, without any library of HTTP."""

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
"""In what a complete stream ends. Clients leave after it, and do not wait for the end of the body."""
_TAIL: Final = 128 << 10
"""Bytes from the end in which the last event begins: that of the Responses API repeats the whole answer."""


class Keeper(Protocol):
    """The owner of an exchange."""

    def kept(self, size: int, /) -> bool:
        """Count bytes that are kept; False when there are too many already."""
        ...

    def finished(self, exchange: Exchange, /) -> None:
        """Note that the answer has ended, in whatever way."""
        ...


@dataclass(slots=True, eq=False)
class Exchange:
    """A request as it was sent and its answer: `played` from a cassette, or kept as it comes from the network.

    The app's thread calls all methods; each only takes a reference and the time. An exchange ends once, by whichever
    of `ended`, `failed` and `left` comes first.

    Attributes:
        number: The number of the call in its cassette.
        is_plain: Whether the library has decompressed the answer already.
        instead: What the hook sends in the place of the program's request; None: that one.
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
        """The first line and the headers of the answer have come."""
        self.status, self.reason, self.headers, self.is_plain = status, reason, headers, is_plain

    def arrived(self, piece: bytes) -> None:
        """A piece of the answer has come, and goes to the app now."""
        if piece and self.end is None and self.keeper.kept(len(piece)):
            now = self.clock()
            self.times.append((now - self._last) * 1000)
            self.pieces.append(piece)
            self._last = now

    def ended(self) -> None:
        """The app has read the answer to its end."""
        self._finish("read")

    def failed(self, error: BaseException) -> None:
        """The library has raised: no answer, or not the rest of one. What is no error of the network is the app's."""
        if isinstance(error, Exception):
            self._finish("broken", type(error).__name__)
        else:
            self.left()

    def left(self) -> None:
        """The app has closed the answer, or forgotten it."""
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
    """Cut a recorded answer into the pieces that it came in."""
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
    """Return what an app gets that reads on where the recorded one had left the answer."""
    return RecordingError(
        f"The recorded answer of call {interaction.call} ends here: the program had left it when it was recorded, and "
        "reads on now. Record it anew (--pandaprobe-record=all, or mode='all')."
    )
