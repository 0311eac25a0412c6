"""`recording()`: model calls inside a block are saved in a cassette, or answered from it."""

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

from pandaprobe_otel.capture.wrapping import restore
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay import open_recordings
from pandaprobe_otel.replay.divergence import Divergence, EndOfRecording
from pandaprobe_otel.replay.fault import Fault, Model
from pandaprobe_otel.replay.replayed_run import Diverge, Mode, RecordedCall, RecordingOptions, Run

if TYPE_CHECKING:
    F = TypeVar("F", bound=Callable[..., Any])


def recording(
    path: str | Path,
    *,
    mode: Mode = "once",
    tools: bool | Collection[str] = False,
    ignore: Sequence[str | re.Pattern[str]] = (),
    scrub: Callable[[Any], Any] | None = None,
    allow_unused: bool = False,
    diverge: Diverge | None = None,
    ends_at: int | None = None,
    faults: Sequence[Fault] = (),
    model: Model | None = None,
) -> Recording:
    """Return a recording: a block for `with` or `async with`, or a decorator of a function.

    The clients of models really run inside the block. Only the requests of their HTTP libraries are saved or answered.
    If the block raises, the file stays unchanged.

    Args:
        path: The cassette.
        mode: `once` (default) records if there is no file, otherwise plays it back. `none` only plays back. `new` plays
            back the known calls and adds the others. `all` records again. If the variable CI is set, `once` means
            `none`.
        tools: Also play back tool calls instead of running them: True for all, or names.
        ignore: Parts in which requests may differ: dotted paths such as `messages.0.content`, or patterns of parts of
            texts. A URL (`http://127.0.0.1:8000`) excludes requests that begin with it; they are sent.
        scrub: A function that removes what must not be saved. It gets JSON (a body, an event of a stream, arguments or
            the result of a tool), or else a text, and returns the value to save.
        allow_unused: Allow recorded calls that are never made.
        diverge: The reaction to an unknown request: `fail`, `accept`, `rerecord` or `live`. With `faults`, it only
            applies after a fault, and the default is `accept`.
        ends_at: The last call that must be made. An unknown request after it ends the block without an error.
        faults: Faults of model calls and tools, made by the functions of `pandaprobe_otel.replay.fault`. The cassette
            is only played back. Each fault must be met; calls that are never made are allowed.
        model: With `faults`, a scripted model that answers unknown requests after a fault: a function from the
            messages (in the form of chat completions) to a text or a `fault.Reply`.

    Raises RecordingError for an invalid mode, or if it is unclear which of several recordings is meant. Raises
    `Divergence` (an AssertionError) at the first request that was not recorded, and again at the end of the block.
    """
    if mode not in get_args(Mode):
        raise RecordingError(f"mode={mode!r} must be one of {', '.join(get_args(Mode))}.")
    given = (faults,) if isinstance(faults, Fault) else tuple(faults)
    if given and mode not in ("none", "once"):
        raise RecordingError(f"mode={mode!r} records, and faults need a recorded run: use 'none' or 'once'.")
    if model is not None and not given:
        raise RecordingError("model= answers requests after a fault: pass faults= as well.")
    diverge = diverge or ("accept" if given else "fail")
    if diverge not in get_args(Diverge):
        raise RecordingError(f"diverge={diverge!r} must be one of {', '.join(get_args(Diverge))}.")
    if isinstance(tools, str):
        raise RecordingError(f"tools={tools!r} must be True, False or several names: tools=[{tools!r}].")
    return Recording(
        RecordingOptions(
            path=Path(path).absolute(),  # the program may change the directory inside the block
            mode=mode,
            tools=tools,
            ignore=(ignore,) if isinstance(ignore, (str, re.Pattern)) else tuple(ignore),
            scrub=scrub,
            allow_unused=allow_unused,
            diverge=diverge,
            ends_at=ends_at,
            faults=given,
            model=model,
        )
    )


class Recording:
    """A recording, open from `__enter__` to `__exit__`; `recording` returns it.

    Threads of the app belong to it if they have its OpenTelemetry context, or if it is the only open recording.
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
        """The requests so far, in the order of sending."""
        return self._run.calls

    @property
    def divergence(self) -> Divergence | None:
        """The first request that the cassette did not answer; None if it has answered all."""
        return self._run.divergence

    @property
    def faults_met(self) -> Sequence[Fault]:
        """The faults that the program has met so far."""
        return self._run.faults_met

    @property
    def started_at(self) -> datetime:
        """Time of the recording: now, or the time in the cassette. A test can set the program's clock to it."""
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
        """Decorate a function or a coroutine function. Each call is a separate block."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise RecordingError(f"{function.__qualname__} is a generator: open the recording inside it.")
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
        """Read the cassette, and receive the requests of this context. Raises RecordingError."""
        if self._was_opened:
            raise RecordingError(f"{self.path}: this recording was already used: call recording() again for a new one.")
        self._was_opened = True
        self._run.read()
        open_recordings.add(self._run)
        self._token = attach(set_value(open_recordings.KEY, self._run, get_current()))

    def close(self, error: BaseException | None = None) -> None:
        """Stop recording, and write the cassette unless there was an error.

        Raises the first divergence, even if another error followed from it. Raises an error for calls that were never
        made, and RecordingError.
        """
        self.stop()
        if error is None:
            self.check()
            self.write()
        else:
            self.explain(error)

    @contextmanager
    def to_the_end(self) -> Generator[None]:
        """Return a block inside an open recording that ends without an error at the place that `ends_at` allows."""
        try:
            yield
        except EndOfRecording:
            if self._options.ends_at is None:
                raise

    def check(self) -> None:
        """Raise the first problem of the run so far: RecordingError, the first divergence, or calls that were never
        made.
        """
        self._run.check()

    def explain(self, error: BaseException) -> None:
        """Raise the divergence that caused an app's error, since frameworks wrap exceptions.

        Return if there is none.
        """
        found = self._run.failure
        if found is not None and isinstance(error, Exception) and not isinstance(error, type(found)):
            raise found from error

    def write(self) -> None:
        """Write the cassette if there is something new. Raises RecordingError, and the old file then stays."""
        self._run.write()

    def stop(self) -> None:
        """Stop recording. Answers that are still being read end here, as if the app had left them."""
        if self._token is not None:
            restore(self._token)
            self._token = None
        open_recordings.take_away(self._run)
        self._run.stop()
