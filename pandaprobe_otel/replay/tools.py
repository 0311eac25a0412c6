"""Tool calls, saved and played back: the result of a function as JSON, or its exception."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from pandaprobe_otel.capture import tool_answers
from pandaprobe_otel.capture.content import encode
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.interactions import ToolCall
from pandaprobe_otel.replay.open_recordings import current
from pandaprobe_otel.replay.replayed_run import Run


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
    return Ran(run, name, given, call_id) if call is None else Played(call)


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


class Ran:
    """A tool call that runs the tool, and is saved in the recording."""

    def __init__(self, run: Run, name: str, arguments: Mapping[str, Any], call_id: str | None) -> None:
        self._run = run
        branch, last = run.caller()
        self._place: dict[str, Any] = {
            "at": run.places.current(),
            "call_id": call_id,
            "task": branch.task,
            "follows": last,
        }
        self._arguments = arguments
        self._tool = run.tool_runs(name)

    def running(self) -> AbstractContextManager[None]:
        """Return the block in which the tool runs."""
        return self._tool.running()

    def returned(self, result: Any) -> None:
        """Save the result. If JSON cannot restore the result, the recording fails but the tool does not."""
        name = self._tool.name
        if _is_json(result):
            self._tool.call = self._run.kept_tool(
                ToolCall(name, self._arguments, result=json.loads(json.dumps(result)), **self._place)
            )
            return
        self._tool.problem = RecordingError(
            f"{self._run.path}: the tool {name} returned a {type(result).__qualname__}, which a cassette cannot "
            "restore. Return JSON, or name only the tools that do: tools=['...']."
        )

    def raised(self, error: BaseException) -> None:
        """Save the exception, unless it is an interrupt."""
        if isinstance(error, Exception):
            kind = type(error)
            self._tool.call = self._run.kept_tool(
                ToolCall(
                    self._tool.name,
                    self._arguments,
                    error=str(error),
                    error_type=f"{kind.__module__}.{kind.__qualname__}",
                    **self._place,
                )
            )

    def runs_always(self) -> None:
        """Let the tool run during playback too."""
        self._tool.mark()


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
