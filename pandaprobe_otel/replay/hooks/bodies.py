"""Bodies of answers as botocore and requests read them from urllib3, one class for saving and one for playback."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import urlencode

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.exchange import Exchange, Piece, beyond, pieces_of
from pandaprobe_otel.replay.replayed_run import Run


def body_of(body: Any) -> bytes:
    """Return the bytes, and restore the position of a file. Raises RecordingError for a body that can be read only
    once.
    """
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
        content: bytes | str = body.read()
        body.seek(place)
        return content.encode() if isinstance(content, str) else content
    raise RecordingError(
        f"A request whose body is a {type(body).__name__} cannot be recorded: it can be read only once. "
        "Pass bytes to the client, or exclude its host with ignore=['https://that.host']."
    )


_CHUNK: Final = 65536


class KeptBody:
    """Body of urllib3 that notes everything that is read."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __iter__(self) -> Iterator[bytes]:
        return self._noted(iter(self._inner))

    def stream(self, amt: int | None = _CHUNK, decode_content: bool | None = None) -> Iterator[bytes]:
        """Read piece by piece, as they arrive."""
        self._exchange.is_plain = self._exchange.is_plain or bool(decode_content)
        return self._noted(self._inner.stream(amt, decode_content=decode_content))

    def read(self, amt: int | None = None, decode_content: bool | None = None, **options: Any) -> bytes:
        """Read this many bytes, or all."""
        self._exchange.is_plain = self._exchange.is_plain or bool(decode_content)
        if decode_content is not None:
            options["decode_content"] = decode_content
        piece: bytes = self._note(lambda: self._inner.read(amt, **options), asked=amt)
        return piece

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""

        def fill() -> bytes:
            return bytes(memoryview(buffer)[: self._inner.readinto(buffer)])

        return len(self._note(fill, asked=len(buffer)))

    def readline(self, *arguments: Any) -> bytes:
        """Read a line."""
        return self._note(lambda: self._inner.readline(*arguments), asked=1)

    def readlines(self, *arguments: Any) -> list[bytes]:
        """Read all lines."""
        return list(self)

    def close(self) -> None:
        """Close the connection, because the app needs no more."""
        self._exchange.left()
        self._inner.close()

    def release_conn(self) -> None:
        """Release the connection, because the app needs no more."""
        self._exchange.left()
        self._inner.release_conn()

    def __del__(self) -> None:
        self._exchange.left()

    def _note(self, read: Callable[[], bytes], *, asked: int | None) -> bytes:
        try:
            piece = read()
        except BaseException as error:
            self._exchange.failed(error)
            raise
        self._exchange.arrived(piece)
        if asked is None or asked < 0 or (asked and not piece):
            self._exchange.ended()
        return piece

    def _noted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for piece in pieces:
                self._exchange.arrived(piece)
                yield piece
        except BaseException as error:
            self._exchange.failed(error)
            raise
        self._exchange.ended()


class PlayedBody(io.RawIOBase):
    """Body of a recorded answer, with its original pieces and end.

    headers: of the library's own type.
    error: makes the exception at the end of an answer that broke off.
    """

    def __init__(self, exchange: Exchange, run: Run, headers: Any, error: Callable[[str | None], Exception]) -> None:
        super().__init__()
        assert exchange.played is not None
        self._exchange = exchange
        self._played = exchange.played
        self._run = run
        self._error = error
        self._pieces: Iterator[Piece] = pieces_of(exchange.played, delays=run.delays)
        self._rest = b""
        self.status = exchange.played.answer.status
        self.reason = exchange.played.answer.reason
        self.headers = headers
        self.version = 11

    def readable(self) -> bool:
        """Return True: a body can be read."""
        return True

    def stream(self, amt: int | None = _CHUNK, decode_content: bool | None = None) -> Iterator[bytes]:
        """Read piece by piece, each at most `amt` bytes long."""
        while piece := self._some(amt):
            yield piece

    def read(self, amt: int | None = -1, decode_content: bool | None = None, **_: Any) -> bytes:
        """Read this many bytes, or all."""
        if amt is None or amt < 0:
            return b"".join(self.stream(None))
        return self._some(amt) if amt else b""

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        piece = self._some(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _some(self, most: int | None) -> bytes:
        if not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                self._end()
                return b""
            if piece.wait_s:
                time.sleep(piece.wait_s)
            self._rest = piece.data
        most = len(self._rest) if most is None else most
        found, self._rest = self._rest[:most], self._rest[most:]
        return found

    def _end(self) -> None:
        if self._played.answer.end == "broken":
            error = self._error(self._played.answer.error)
            self._exchange.failed(error)
            raise error
        if self._played.answer.end == "left":
            self._run.fail(beyond(self._played))
        self._exchange.ended()

    def release_conn(self) -> None:
        """Do nothing: there is no connection."""

    def close(self) -> None:
        """Note that the app does not read the rest of the body."""
        self._exchange.left()
        super().close()


def urllib3_error(name: str | None) -> Exception:
    """Return the exception that urllib3 raises while a body is read, by its recorded name."""
    from urllib3 import exceptions

    text = f"{name}, as recorded"
    if name == "ReadTimeoutError":
        return exceptions.ReadTimeoutError(None, None, text)  # type: ignore[arg-type]
    kind = getattr(exceptions, name or "", None)
    if kind is exceptions.SSLError or kind is exceptions.DecodeError:
        return kind(text)
    return exceptions.ProtocolError(text)
