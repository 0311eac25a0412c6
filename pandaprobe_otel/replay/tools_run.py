"""Nested tool calls inside a recording, and the ones that playback will answer.

A tool that is played back does not run, so its inner calls do not occur. A tool that calls a model must run during
playback too. Then the model's answers are played back, and so are the tools that this tool calls.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.interactions import ToolCall


@dataclass(slots=True, eq=False)
class RunningTool:
    """A running tool call.

    Attributes:
        above: The tool call inside which this one runs.
        call: The saved data, after its end.
        problem: The reason why this call cannot be played back.
        must_run: True if it has called a model, or if its framework needs it to run.
    """

    name: str
    above: RunningTool | None = None
    below: list[RunningTool] = field(default_factory=list["RunningTool"])
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

    def mark(self) -> None:
        """Mark this call and all calls around it to always run."""
        tool: RunningTool | None = self
        while tool is not None and not tool.must_run:
            tool.must_run = True
            tool = tool.above


_here: Final[ContextVar[RunningTool | None]] = ContextVar("pandaprobe_running_tool", default=None)


def here() -> RunningTool | None:
    """Return the tool call of the running code."""
    return _here.get()


def asked_model() -> None:
    """Note that the running code calls a model."""
    if (tool := _here.get()) is not None:
        tool.mark()


def to_keep(tools: Sequence[RunningTool]) -> Iterator[ToolCall]:
    """Yield the calls that playback will answer. Raises RecordingError for a call that cannot be played back.

    All calls of a tool are treated alike: a cassette with some of them would refuse the others.
    """
    run_always = frozenset(tool.name for tool in _all(tools) if tool.must_run)
    yield from _names(tools, run_always)


def _all(tools: Sequence[RunningTool]) -> Iterator[RunningTool]:
    for tool in tools:
        yield tool
        yield from _all(tool.below)


def _names(tools: Sequence[RunningTool], run_always: frozenset[str]) -> Iterator[ToolCall]:
    for tool in tools:
        is_kept = tool.name not in run_always and (tool.call is not None or tool.problem is not None)
        if not is_kept:
            yield from _names(tool.below, run_always)
        elif tool.problem is not None:
            raise tool.problem
        elif tool.call is not None:
            yield tool.call
