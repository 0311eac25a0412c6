"""The first request that no recorded call answers: its place, its difference, and the remedies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class EndOfRecording(BaseException):
    """The program has passed the end of the recording, as a test with `ends_at=` expects.

    Not an `Exception`, so that apps and frameworks do not handle it as a model failure and try again.
    """


class Divergence(AssertionError):
    """The program has made a request that differs from the recorded ones.

    Attributes:
        call: The number of the expected recorded call; for a tool, the number of the last model call before it.
        where: The spans around the request, and the request itself.
        path: The first field that differs, in the form of `ignore=`. Empty if the whole request is out of order.
        recorded: The recorded value; None if there was none.
        asked: The current value; None if there is none.
    """

    def __init__(
        self,
        text: str,
        *,
        call: int = 0,
        where: str = "",
        path: str = "",
        recorded: object = None,
        asked: object = None,
    ) -> None:
        super().__init__(text)
        self.call = call
        self.where = where
        self.path = path
        self.recorded = recorded
        self.asked = asked

    def again(self) -> Divergence:
        """Return an equal exception: raising the same one twice would keep the frames of both."""
        return Divergence(
            str(self), call=self.call, where=self.where, path=self.path, recorded=self.recorded, asked=self.asked
        )

    def __reduce__(self) -> tuple[Callable[..., Divergence], tuple[Any, ...]]:
        """Return the arguments to rebuild it in another process, since tests may run in workers."""
        return _built, (str(self), self.call, self.where, self.path, self.recorded, self.asked)


def _built(text: str, call: int, where: str, path: str, recorded: object, asked: object) -> Divergence:
    return Divergence(text, call=call, where=where, path=path, recorded=recorded, asked=asked)
