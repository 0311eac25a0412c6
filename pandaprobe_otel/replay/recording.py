"""`recording()`: model calls inside a block are saved in a cassette, or answered from it.

The hooks call a recording from any thread of the app, so it only stores references.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import threading
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Token
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, TypeVar, get_args

from opentelemetry.context import Context, attach, get_current, set_value

from pandaprobe_otel.capture.wrapping import restore
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay import open_recordings
from pandaprobe_otel.replay.call_order import Caller, CallsSoFar, Places
from pandaprobe_otel.replay.cassette import load, save
from pandaprobe_otel.replay.cassette_script import Script
from pandaprobe_otel.replay.divergence import Divergence, EndOfRecording
from pandaprobe_otel.replay.exchange import Exchange, plain_request, without_waiting
from pandaprobe_otel.replay.fault import Fault, Faults, Model, scripted_answer
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedRequest, ToolCall
from pandaprobe_otel.replay.scrubbing import Scrubber, of_headers
from pandaprobe_otel.replay.tools import Ran, running_tool, to_keep

if TYPE_CHECKING:
    F = TypeVar("F", bound=Callable[..., Any])

Mode = Literal["none", "once", "new", "all"]
"""`none` plays back and refuses unknown requests. `once` records if there is no file. `new` plays back the known calls
and adds the unknown ones. `all` records again.
"""
Diverge = Literal["fail", "accept", "rerecord", "live"]
"""Reaction to an unknown request. `fail`: it fails. `accept`: it gets the nearest answer, and replaces the recorded
request. `rerecord`: it is sent, and replaces the nearest call. `live`: it and all later ones are sent, and nothing is
saved.
"""
_USER: Final = re.compile(r"(?<=://)[^/@]*@")
MAX_KEPT_BYTES: Final = 512 << 20
"""Maximum number of bytes of requests and answers that one recording keeps in memory."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A request of the program inside a recording.

    Attributes:
        number: Its number in the cassette.
        at: The names of the spans around it.
        status: The status of its answer; 0 without one.
        played: True if the answer came from the cassette.
    """

    number: int
    method: str
    uri: str
    at: str
    status: int
    played: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """The arguments of `recording`."""

    path: Path
    mode: Mode = "once"
    tools: bool | Collection[str] = False
    ignore: tuple[str | re.Pattern[str], ...] = ()
    scrub: Callable[[Any], Any] | None = None
    allow_unused: bool = False
    diverge: Diverge = "fail"
    ends_at: int | None = None
    faults: tuple[Fault, ...] = ()
    model: Model | None = None
    live_tools: Collection[str] | None = None
    """The only tools that may run; None: all tools that were not recorded may."""


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
    """A recording, open from `__enter__` to `__exit__`; `recording` returns it. Thread-safe.

    Threads of the app belong to it if they have its OpenTelemetry context, or if it is the only open recording.
    """

    def __init__(self, options: RecordingOptions) -> None:
        self._options = options
        self._token: Token[Context] | None = None
        self._was_opened = False
        self._lock = threading.Lock()
        self._old = Cassette()
        self._script: Script | None = None
        self._scrubber = Scrubber(mask=_configured_mask, scrub=options.scrub)
        self._exchanges: list[Exchange] = []
        self._order = CallsSoFar()
        self._new: dict[int, Exchange] = {}
        self._replaced: dict[int, Interaction] = {}
        self._tools: list[Ran] = []
        self._kept_bytes = 0
        self._next_number = 1
        self._failure: RecordingError | None = None
        self._is_live = False
        self._faults = Faults(options.faults)
        self._left_alone = tuple(
            one for one in options.ignore if isinstance(one, str) and one.startswith(("http://", "https://"))
        )
        self.places = Places()
        self.started_at = datetime.now(UTC)
        """Time of the recording: now, or the time in the cassette. A test can set the program's clock to it."""

    @property
    def path(self) -> Path:
        """The cassette."""
        return self._options.path

    @property
    def calls(self) -> Sequence[RecordedCall]:
        """The requests so far, in the order of sending."""
        return [_call_of(exchange) for exchange in list(self._exchanges)]

    @property
    def divergence(self) -> Divergence | None:
        """The first request that the cassette did not answer; None if it has answered all."""
        if self._script is None or self._is_live or self._options.mode == "new":
            return None
        return self._script.divergence

    @property
    def faults_met(self) -> Sequence[Fault]:
        """The faults that the program has met so far."""
        return self._faults.met

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
        self._read()
        open_recordings.add(self)
        self._token = attach(set_value(open_recordings.KEY, self, get_current()))

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

    def _read(self) -> None:
        """Read the cassette if it is used for playback. Raises RecordingError."""
        is_only_played = self._options.mode == "once" and (_is_ci() or bool(self._faults))
        mode = "none" if is_only_played else self._options.mode
        if mode == "all":
            return
        try:
            self._old = load(self.path)
        except FileNotFoundError:
            if mode != "none":
                return
            why = "CI is set, so nothing is recorded" if self._options.mode == "once" else "mode='none' only plays"
            why = "faults need a recorded run" if self._faults else why
            raise RecordingError(
                f"{self.path}: the cassette does not exist, and {why}. Record it where the program has its keys "
                "(--pandaprobe-record=once, or mode='once'), and commit it."
            ) from None
        ignore = tuple(one for one in self._options.ignore if one not in self._left_alone)
        self._script = Script(self._old, ignore=ignore, ends_at=self._options.ends_at)
        self._next_number = max((one.call for one in self._old.interactions), default=0) + 1
        if self._old.started_at is not None:
            self.started_at = _moment(self._old.started_at, self.started_at)

    def stop(self) -> None:
        """Stop recording. Answers that are still being read end here, as if the app had left them."""
        if self._token is not None:
            restore(self._token)
            self._token = None
        open_recordings.take_away(self)
        for exchange in list(self._exchanges):
            exchange.left()

    def check(self) -> None:
        """Raise the first problem of the run so far: RecordingError, the first divergence, or calls that were never
        made.
        """
        found = self._failure or self.divergence
        if found is not None:
            raise found
        if missed := self._faults.missed:
            raise RecordingError(
                f"{self.path}: the program did not meet the fault {missed[0]}: it made no such call, so the run proves "
                "nothing about it."
            )
        self._new_tool_calls()
        if (
            self._script is None
            or self._faults
            or self._is_live
            or self._options.mode == "new"
            or self._options.allow_unused
        ):
            return
        if (unused := self._script.never_made(tools=self.wants_tool)) is not None:
            raise unused

    def explain(self, error: BaseException) -> None:
        """Raise the divergence that caused an app's error, since frameworks wrap exceptions.

        Return if there is none.
        """
        found = self._failure or self.divergence
        if found is not None and isinstance(error, Exception) and not isinstance(error, type(found)):
            raise found from error

    def write(self) -> None:
        """Write the cassette if there is something new. Raises RecordingError, and the old file then stays."""
        tools = self._new_tool_calls()
        is_changed = self._script is None or self._new or self._replaced or tools
        if self._is_live or self._faults or not is_changed:
            return
        interactions = {one.call: one for one in self._old.interactions} | self._replaced
        for exchange in self._new.values():  # before any scrubbing, since later requests repeat parts of answers
            self._scrubber.learn(of_headers({**exchange.headers, **exchange.request.headers}))
        for number, exchange in self._new.items():
            made = self._scrubber.interaction(exchange.interaction())
            interactions[number] = (
                replace(made, task=0, follows=0)
                if self._order.is_sequential
                else replace(made, waited_for=self.places.waited_for(number))
            )
        cassette = replace(
            self._old,
            interactions=tuple(interactions[number] for number in sorted(interactions)),
            tools=(*self._old.tools, *tools),
            started_at=self._old.started_at or self.started_at.isoformat(timespec="seconds"),
        )
        save(self.path, cassette)

    def leaves_alone(self, uri: str) -> bool:
        """Return whether `ignore` excludes the URL of a request."""
        return bool(self._left_alone) and uri.startswith(self._left_alone)

    def begin(self, sent: RecordedRequest) -> Exchange:
        """Return the exchange of a request before it is sent. If it is `played`, the request is not sent.

        Raises Divergence, EndOfRecording or RecordingError.
        """
        at = self.places.current()
        caller = self._order.caller()
        if (tool := running_tool()) is not None:
            tool.runs_always()  # it calls a model
        if self._script is None:
            request, played, number = sent, None, 0
        else:
            request = self._scrubber.request(plain_request(sent))
            played, number = self._answer(request, at, caller)
        with self._lock:
            if played is not None:
                number = played.call
            elif not number:
                number, self._next_number = self._next_number, self._next_number + 1
            self.places.began(number)
            exchange = Exchange(
                self,
                number,
                request,
                at=at,
                after=self._order.began(number, caller),
                task=caller.branch.task,
                follows=caller.last,
                played=None if played is None else without_waiting(played),
            )
            self._exchanges.append(exchange)
            if played is None:
                self._new[number] = exchange
        self.kept(len(sent.body))
        return exchange

    def _answer(self, request: RecordedRequest, at: str, caller: Caller) -> tuple[Interaction | None, int]:
        """Return the recorded call that answers a request, or None if the request is sent.

        The number is that of the recorded call that a sent request replaces; 0 if it replaces none.
        """
        assert self._script is not None
        if self._is_live:
            return None, 0
        if self._options.mode == "new":
            return self._script.take_known(request, at=at, caller=caller), 0
        try:
            return self._script.take(request, at=at, caller=caller, instead=self._faults.at), 0
        except Divergence:
            if (self._faults and not self._faults.met) or (self._options.diverge == "fail" and not self._options.model):
                raise
            if self._faults and (met := self._script.nearest(request, at=at, instead=self._faults.at)):
                return met, 0
            if self._options.model is not None:
                self._script.forget()
                return self._modelled(request, self._options.model), 0
            if self._options.diverge == "live":
                self._script.forget()
                self._is_live = not self._faults  # Known requests may still have faults.
                return None, 0
            nearest = self._script.nearest(request, at=at)
            if nearest is None:
                raise
            if self._options.diverge == "rerecord":
                return None, nearest.call
            self._replaced[nearest.call] = replace(nearest, request=request, at=at)
            return nearest, 0

    def _modelled(self, request: RecordedRequest, model: Model) -> Interaction:
        """Return the scripted model's answer to a request that was not recorded."""
        with self._lock:
            number, self._next_number = self._next_number, self._next_number + 1
        try:
            return Interaction(number, request, scripted_answer(request, model, number=number))
        except RecordingError as error:
            self.fail(error)

    def tool_fault(self, name: str) -> ToolCall | BaseException | None:
        """Return the result or exception that a fault gives to a tool call; None if there is none."""
        return self._faults.at_tool(name, self._old.tools) if self._faults else None

    def kept(self, size: int) -> bool:
        """Count saved bytes. Above the bound, nothing more is saved and the recording fails."""
        self._kept_bytes += size
        if self._kept_bytes <= MAX_KEPT_BYTES:
            return True
        if self._failure is None:
            self._failure = RecordingError(
                f"{self.path}: more than {MAX_KEPT_BYTES >> 20} MB were sent and received. Record it in parts."
            )
        return False

    def finished(self, exchange: Exchange) -> None:
        """Note that an answer has ended."""
        with self._lock:
            self._order.ended(exchange.number)

    def fail(self, error: RecordingError) -> NoReturn:
        """Store an error and raise it, so that the block fails even if the app catches it."""
        self._failure = self._failure or error
        raise error

    def wants_tool(self, name: str) -> bool:
        """Return whether calls of this tool are recorded."""
        return self._options.tools is True or (self._options.tools is not False and name in self._options.tools)

    def tool_answer(self, name: str, arguments: Mapping[str, Any], call_id: str | None = None) -> ToolCall | None:
        """Return the recorded tool call; None if the tool must run. Raises Divergence or EndOfRecording."""
        if self._script is None or self._is_live:
            return None
        made = self._made_call(name, arguments, call_id)
        try:
            found: ToolCall | None = self._script.take(made, at=made.at, caller=self._order.caller())
            if found is None and self._options.live_tools is not None and name not in self._options.live_tools:
                self.fail(RecordingError(f"the tool {name} was not recorded, and --live-tools does not name it."))
            return found
        except Divergence:
            if self._options.mode == "new":
                return None
            if self._options.diverge != "live":
                raise
            self._is_live = True
            return None

    def _made_call(self, name: str, arguments: Mapping[str, Any], call_id: str | None) -> ToolCall:
        return ToolCall(name, self._scrubber.value(dict(arguments)), at=self.places.current(), call_id=call_id)

    def tool_runs(self, name: str, arguments: Mapping[str, Any], call_id: str | None) -> Ran:
        """Return a new record of a running tool call, with its position among the others."""
        branch, last = self._order.caller()
        place = {"at": self.places.current(), "call_id": call_id, "task": branch.task, "follows": last}
        tool = Ran(recording=self, name=name, arguments=arguments, place=place, above=running_tool())
        self._tools.append(tool)
        return tool

    def kept_tool(self, call: ToolCall) -> ToolCall:
        """Return a tool call without secrets, as it is saved."""
        return self._scrubber.tool(call)

    def _new_tool_calls(self) -> tuple[ToolCall, ...]:
        """Return the tool calls that the cassette did not have. Raises RecordingError."""
        is_kept = self._script is None or self._options.mode == "new"
        if not is_kept:
            return ()
        kept = tuple(to_keep(self._tools))
        return tuple(replace(call, task=0, follows=0) for call in kept) if self._order.is_sequential else kept


def _call_of(exchange: Exchange) -> RecordedCall:
    status = exchange.status if exchange.played is None else exchange.played.answer.status
    request = exchange.request
    uri = _USER.sub("", request.uri.partition("?")[0])
    return RecordedCall(exchange.number, request.method, uri, exchange.at, status, exchange.played is not None)


def _is_ci() -> bool:
    return os.environ.get("CI", "").strip().lower() not in ("", "0", "false", "no")


def _moment(text: str, default: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return default
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _configured_mask() -> Any:
    """Return the mask function of the current settings."""
    from pandaprobe_otel.bootstrap import settings_in_use

    config = settings_in_use()
    return None if config is None else config.mask
