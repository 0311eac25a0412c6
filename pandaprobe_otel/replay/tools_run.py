"""The calls of tools that run inside a recording, one below another: which of them a replay will ask for.

A tool that is answered does not run, so nothing that happens in it is asked for again. One that asks a model has to run
in a replay as well: what the model answers is played, and so are the tools in it.
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
    """A call of a tool that runs.

    Attributes:
        above: The call of a tool that it runs in.
        call: What is kept of it, when it has ended.
        problem: Why it cannot be played.
        must_run: True for one that has asked a model, or that its framework cannot do without.
    """

    name: str
    above: RunningTool | None = None
    below: list[RunningTool] = field(default_factory=list["RunningTool"])
    call: ToolCall | None = None
    problem: RecordingError | None = None
    must_run: bool = False

    @contextmanager
    def running(self) -> Generator[None]:
        """Return the block in which the tool runs, for threads and tasks that are started there, too."""
        token = _here.set(self)
        try:
            yield
        finally:
            if _here.get() is self:
                _here.reset(token)

    def mark(self) -> None:
        """Have it run always, and all that it runs in."""
        tool: RunningTool | None = self
        while tool is not None and not tool.must_run:
            tool.must_run = True
            tool = tool.above


_here: Final[ContextVar[RunningTool | None]] = ContextVar("pandaprobe_running_tool", default=None)


def here() -> RunningTool | None:
    """Return the call of a tool that this code runs in."""
    return _here.get()


def asked_model() -> None:
    """Note that a model is asked here."""
    if (tool := _here.get()) is not None:
        tool.mark()


def to_keep(tools: Sequence[RunningTool]) -> Iterator[ToolCall]:
    """Yield the calls that a replay will ask for. Raises RecordingError for one that cannot be played.

    A name either runs always or never: a cassette with some of its calls would refuse the others.
    """
    run_always = frozenset(tool.name for tool in _all(tools) if tool.must_run)
    yield from _asked(tools, run_always)


def _all(tools: Sequence[RunningTool]) -> Iterator[RunningTool]:
    for tool in tools:
        yield tool
        yield from _all(tool.below)


def _asked(tools: Sequence[RunningTool], run_always: frozenset[str]) -> Iterator[ToolCall]:
    for tool in tools:
        is_kept = tool.name not in run_always and (tool.call is not None or tool.problem is not None)
        if not is_kept:
            yield from _asked(tool.below, run_always)
        elif tool.problem is not None:
            raise tool.problem
        elif tool.call is not None:
            yield tool.call
