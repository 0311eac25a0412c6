"""Tool calls, saved and played back: the result of a function as JSON, or its exception."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from pandaprobe_otel.capture import tool_answers
from pandaprobe_otel.capture.content import encode
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.interactions import ToolCall
from pandaprobe_otel.replay.open_recordings import current

if TYPE_CHECKING:
    from pandaprobe_otel.replay.recording import Recording


def install() -> None:
    """Let tools ask the recording."""
    tool_answers.ask_with(_ask)


def remove() -> None:
    """Let tools run without a recording."""
    tool_answers.ask_with(None)


def _ask(name: str, arguments: Mapping[str, Any], call_id: str | None) -> Played | Ran | None:
    run = current()
    if run is None:
        return None
    if (fault := run.tool_fault(name)) is not None:
        return Played(fault)
    if not run.wants_tool(name):
        return None
    given: dict[str, Any] = json.loads(encode(dict(arguments)))
    call = run.tool_answer(name, given, call_id)
    return run.tool_runs(name, given, call_id) if call is None else Played(call)


class Played:
    """A tool call that is answered from the recording, or by a fault; the tool does not run."""

    def __init__(self, call: ToolCall | BaseException) -> None:
        self._call = call

    def outcome(self) -> Any:
        """Return the recorded result, or raise the recorded exception."""
        if isinstance(self._call, BaseException):
            raise self._call
        if self._call.error is None:
            return self._call.result
        raise _exception(self._call)


@dataclass(slots=True, eq=False, kw_only=True)
class Ran:
    """A tool call that runs the tool, and is saved in the recording.

    Attributes:
        place: Its position among the calls of the recording.
        above: The tool call inside which this one runs.
        call: The saved data, after its end.
        problem: The reason why this call cannot be played back.
        must_run: True if it has called a model, or if its framework needs it to run.
    """

    recording: Recording
    name: str
    arguments: Mapping[str, Any]
    place: Mapping[str, Any]
    above: Ran | None
    call: ToolCall | None = None
    problem: RecordingError | None = None
    must_run: bool = False

    @contextmanager
    def running(self) -> Generator[None]:
        """Return the block in which the tool runs, including threads and tasks that start there."""
        token = _here.set(self)
        try:
            yield
        finally:
            if _here.get() is self:
                _here.reset(token)

    def returned(self, result: Any) -> None:
        """Save the result. If JSON cannot restore the result, the recording fails but the tool does not."""
        if _is_json(result):
            self._end(result=json.loads(json.dumps(result)))
            return
        self.problem = RecordingError(
            f"{self.recording.path}: the tool {self.name} returned a {type(result).__qualname__}, which a cassette "
            "cannot restore. Return JSON, or name only the tools that do: tools=['...']."
        )

    def raised(self, error: BaseException) -> None:
        """Save the exception, unless it is an interrupt."""
        if isinstance(error, Exception):
            kind = type(error)
            self._end(error=str(error), error_type=f"{kind.__module__}.{kind.__qualname__}")

    def runs_always(self) -> None:
        """Let this call and all calls around it run during playback too."""
        tool: Ran | None = self
        while tool is not None and not tool.must_run:
            tool.must_run = True
            tool = tool.above

    def _end(self, **outcome: Any) -> None:
        self.call = self.recording.kept_tool(ToolCall(self.name, self.arguments, **outcome, **self.place))


_here: Final[ContextVar[Ran | None]] = ContextVar("pandaprobe_running_tool", default=None)


def running_tool() -> Ran | None:
    """Return the tool call inside which this code runs."""
    return _here.get()


def to_keep(tools: Sequence[Ran]) -> Iterator[ToolCall]:
    """Yield the calls that playback will answer, without those inside others. Raises RecordingError for a call that
    cannot be played back.

    All calls of a tool are treated alike: a cassette with some of them would refuse the others.
    """
    run_always = {tool.name for tool in tools if tool.must_run}
    kept = [tool for tool in tools if tool.name not in run_always and (tool.call or tool.problem)]
    for tool in kept:
        above = tool.above
        while above is not None and above not in kept:
            above = above.above
        if above is None and tool.problem is not None:
            raise tool.problem
        if above is None and tool.call is not None:
            yield tool.call


def _is_json(value: Any) -> bool:
    """Return whether a value survives JSON unchanged, except for tuples, which become lists."""
    try:
        back = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return False
    return bool(back == _with_lists(value))


def _with_lists(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_with_lists(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, dict):
        return {key: _with_lists(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    return value


def _exception(call: ToolCall) -> Exception:
    """Return the recorded exception: of its own class if that is loaded and created from a text, otherwise a
    RuntimeError.
    """
    module, _, name = (call.error_type or "").rpartition(".")
    home: Any = builtins if module in ("", "builtins") else sys.modules.get(module)
    kind: Any = getattr(home, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(call.error)
        except TypeError:
            pass
    return RuntimeError(f"{name}: {call.error}")
