"""The first request that no recorded call answers: which one, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class EndOfRecording(BaseException):
    """The program has gone past the end of what was recorded, as a test with `ends_at=` expects it to.

    No `Exception`, so that neither an app nor a framework takes it for a failure of the model and tries again.
    """


class Divergence(AssertionError):
    """The program has asked something else than what was recorded.

    Attributes:
        call: The number of the recorded call that was expected; for a tool, that of the last model call before it.
        where: The spans around it, and what was asked.
        path: The field that differs first, as `ignore=` takes it; empty when the request itself came out of turn.
        recorded: The value there; None if there was none.
        asked: The value there now; None if there is none.
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
        """Return an equal one to raise: one that is raised twice would keep the frames of both."""
        return Divergence(
            str(self), call=self.call, where=self.where, path=self.path, recorded=self.recorded, asked=self.asked
        )

    def __reduce__(self) -> tuple[Callable[..., Divergence], tuple[Any, ...]]:
        """Return how another process builds it: tests run in workers."""
        return _built, (str(self), self.call, self.where, self.path, self.recorded, self.asked)


def _built(text: str, call: int, where: str, path: str, recorded: object, asked: object) -> Divergence:
    return Divergence(text, call=call, where=where, path=path, recorded=recorded, asked=asked)
