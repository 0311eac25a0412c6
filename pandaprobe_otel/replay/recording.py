"""`recording()`: the calls of models inside a block are kept in a cassette, or answered from it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from contextvars import Token
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args

from opentelemetry.context import Context, attach, get_current, set_value

from pandaprobe_otel.capture.span_lifetime import restore
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay import open_recordings
from pandaprobe_otel.replay.divergence import Divergence, EndOfRecording
from pandaprobe_otel.replay.replayed_run import Diverge, Mode, RecordedCall, RecordingOptions, Run

if TYPE_CHECKING:
    F = TypeVar("F", bound=Callable[..., Any])


def recording(
    path: str | Path,
    *,
    mode: Mode = "once",
    tools: bool | Collection[str] = False,
    delays: bool = False,
    ignore: Sequence[str | re.Pattern[str]] = (),
    scrub: Callable[[Any], Any] | None = None,
    allow_unused: bool = False,
    diverge: Diverge = "fail",
    ends_at: int | None = None,
) -> Recording:
    """Return a recording: a block for `with` or `async with`, or a decorator of a function.

    The clients of models really run inside; only what their HTTP libraries would send is kept, or answered. A block
    that raises leaves the file as it was.

    Args:
        path: The cassette.
        mode: `once` (default) records when there is no file, and plays it else; `none` plays it; `new` plays what is
            known and adds the rest; `all` records anew. When the variable CI is set, `once` is `none`.
        tools: Also answer calls of tools, instead of running them: True for all, or names.
        delays: Play answers as slowly as they came.
        ignore: Where requests may differ: dotted paths such as `messages.0.content`, or patterns of what texts may
            hold. A URL (`http://127.0.0.1:8000`) leaves out requests that begin with it: they are sent.
        scrub: A function that takes out what must not be kept. It gets JSON (a body, an event of a stream, arguments
            or the result of a tool), else a text, and returns what is kept.
        allow_unused: Let recorded calls remain that were not asked for.
        diverge: What an unknown request does: `fail`, `accept`, `rerecord` or `live`.
        ends_at: The last call that must be asked for. After it, an unknown request ends the block, without an error.

    Raises RecordingError for a mode that is none, or several recordings where it is not clear which one is meant;
    `Divergence` (an AssertionError) at the first request that was not recorded, and again at the end of the block.
    """
    if mode not in get_args(Mode):
        raise RecordingError(f"mode={mode!r} is none of {', '.join(get_args(Mode))}.")
    if diverge not in get_args(Diverge):
        raise RecordingError(f"diverge={diverge!r} is none of {', '.join(get_args(Diverge))}.")
    if isinstance(tools, str):
        raise RecordingError(f"tools={tools!r} must be True, False or several names: tools=[{tools!r}].")
    return Recording(
        RecordingOptions(
            path=Path(path),
            mode=mode,
            tools=tools,
            delays=delays,
            ignore=(ignore,) if isinstance(ignore, (str, re.Pattern)) else tuple(ignore),
            scrub=scrub,
            allow_unused=allow_unused,
            diverge=diverge,
            ends_at=ends_at,
        )
    )


class Recording:
    """A recording, open from `__enter__` to `__exit__`; `recording` returns it.

    Threads that the app starts belong to it when they have its OpenTelemetry context, or when it is the only
    recording that is open.
    """

    def __init__(self, options: RecordingOptions) -> None:
        self._options = options
        self._run = Run(options)
        self._token: Token[Context] | None = None
        self._was_opened = False

    @property
    def path(self) -> Path:
        """The cassette."""
        return self._options.path

    @property
    def calls(self) -> Sequence[RecordedCall]:
        """The requests so far, in the order in which they were sent."""
        return self._run.calls

    @property
    def divergence(self) -> Divergence | None:
        """The first request that the cassette did not answer; None if it has answered all."""
        return self._run.divergence

    @property
    def started_at(self) -> datetime:
        """The time of recording: now, or the one in the cassette. A test can set the program's clock to it."""
        return self._run.started_at

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        ended = isinstance(error, EndOfRecording) and self._options.ends_at is not None
        self.close(None if ended else error)
        return ended

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self.__exit__(kind, error, trace)

    def __call__(self, function: F) -> F:
        """Decorate a function, or a coroutine function: each call is a block of its own."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise RecordingError(f"{function.__qualname__} is a generator: open the recording inside of it.")
        if inspect.iscoroutinefunction(function):

            async def around_coroutine(*args: Any, **kwargs: Any) -> Any:
                async with Recording(self._options):
                    return await function(*args, **kwargs)

            return functools.update_wrapper(around_coroutine, function)  # type: ignore[return-value]

        def around(*args: Any, **kwargs: Any) -> Any:
            with Recording(self._options):
                return function(*args, **kwargs)

        return functools.update_wrapper(around, function)  # type: ignore[return-value]

    def open(self) -> None:
        """Read the cassette, and let requests of this context come here. Raises RecordingError."""
        if self._was_opened:
            raise RecordingError(f"{self.path}: this recording was open before; call recording() for another one.")
        self._was_opened = True
        self._run.read()
        open_recordings.add(self._run)
        self._token = attach(set_value(open_recordings.KEY, self._run, get_current()))

    def close(self, error: BaseException | None = None) -> None:
        """Stop listening; write the cassette, unless there was an error.

        Raises the first divergence, from the error if there is one; calls that were not asked for; RecordingError.
        """
        self.stop()
        if error is None:
            self.check()
            self.write()
        else:
            self.explain(error)

    @contextmanager
    def to_the_end(self) -> Generator[None]:
        """Return a block inside an open recording that ends, without an error, where `ends_at` lets it end."""
        try:
            yield
        except EndOfRecording:
            if self._options.ends_at is None:
                raise

    def check(self) -> None:
        """Raise what is wrong with the run so far: RecordingError, the first divergence, calls that nobody asked."""
        self._run.check()

    def explain(self, error: BaseException) -> None:
        """Raise what has led to an error of the app: frameworks wrap what they catch. Nothing if it is that itself."""
        found = self._run.failure
        if found is not None and isinstance(error, Exception) and not isinstance(error, type(found)):
            raise found from error

    def write(self) -> None:
        """Write the cassette, if there is something new. Raises RecordingError; the old file stays then."""
        self._run.write()

    def stop(self) -> None:
        """Stop listening. Answers that are still being read end here, as ones that were left."""
        if self._token is not None:
            restore(self._token)
            self._token = None
        open_recordings.take_away(self._run)
        self._run.stop()
