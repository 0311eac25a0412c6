"""Recording of a fork: part of a cassette is played back; the rest is sent and saved in a new cassette."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.protocols.anthropic import INVENTED_SIGNATURE
from pandaprobe_otel.replay.call_order import Caller
from pandaprobe_otel.replay.cassette_script import Script
from pandaprobe_otel.replay.divergence import Divergence
from pandaprobe_otel.replay.exchange import Exchange
from pandaprobe_otel.replay.fork.overrides import Override
from pandaprobe_otel.replay.fork.recording_cut import Cut
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedRequest, ToolCall
from pandaprobe_otel.replay.recording import Recording
from pandaprobe_otel.replay.replayed_run import RecordingOptions, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkOptions:
    """Options of a fork.

    Attributes:
        cut: The calls that are played back, and those that must be made before anything is sent.
        override: The changes to requests that are sent.
        live_tools: Names of tools that may run. All others are only played back.
    """

    cut: Cut
    override: Override = field(default_factory=Override)
    live_tools: Collection[str] = ()


class ForkedRun(Run):
    """A run that plays back one part and sends the other."""

    def __init__(self, options: RecordingOptions, fork: ForkOptions) -> None:
        super().__init__(options)
        self._fork = fork
        self._has_changed = False

    @property
    def divergence(self) -> Divergence | None:
        """The first request before the cut that differs from the recorded one."""
        return None if self._script is None else self._script.divergence

    def read(self) -> None:
        """Load the part that the cut kept. Live calls get numbers that no recorded call has."""
        self._old = self._fork.cut.kept
        self._script = Script(_in_any_order(self._old), ignore=self._options.ignore)
        numbers = [*(one.call for one in self._old.interactions), *self._fork.cut.gone]
        self._next_number = max(numbers, default=0) + 1

    def check(self) -> None:
        """Raise the failure of the run, or an error if the program has not reached the cut."""
        if self.failure is not None:
            raise self.failure
        unused = None if self._script is None else self._script.never_made(among=self._fork.cut.before)
        if unused is not None:
            raise unused
        override = self._fork.override
        if not self._has_changed and (override.model or override.prompt):
            raise RecordingError(
                "nothing was changed: no sent request has the model or the prompt of the first recorded call that is "
                "not replayed."
            )

    def write(self) -> None:
        """Write the cassette of the fork. The recorded run itself is not written again."""
        if self._fork.cut.gone:
            super().write()

    def begin(self, sent: RecordedRequest) -> Exchange:
        """Return the exchange of a request. The sent request may differ from the program's."""
        exchange = super().begin(sent)
        if exchange.played is None:
            try:
                _check_signatures(sent)
                exchange.instead = self._fork.override.applied(sent)
            except RecordingError as error:
                exchange.failed(error)
                self.fail(error)
            if exchange.instead is not None:
                self._has_changed = True
                exchange.request = self._scrubber.request(exchange.instead)
        return exchange

    def wants_tool(self, name: str) -> bool:
        """Return True: every tool must ask first, so that none runs by accident."""
        return True

    def tool_answer(self, name: str, arguments: Mapping[str, Any], call_id: str | None = None) -> ToolCall | None:
        """Return the recorded tool call; None if it may run. Raises Divergence or RecordingError."""
        assert self._script is not None
        made = self._made_call(name, arguments, call_id)
        known = self._script.take_known_tool(made, caller=self.caller())
        if known is not None or name in self._fork.live_tools:
            return known
        if not self._script.were_made(self._fork.cut.before) or not self._fork.cut.gone:
            self._script.take_tool(made, caller=self.caller())
        why = "was not recorded with these arguments, and running it could change something"
        return self.fail(RecordingError(f"the tool {name} {why}. --live-tools={name} lets it run."))

    def _answer(self, request: RecordedRequest, at: str, caller: Caller) -> tuple[Interaction | None, int]:
        assert self._script is not None
        known = self._script.take_known(request, at=at, caller=caller)
        if known is None and not (self._fork.cut.gone and self._script.were_made(self._fork.cut.before)):
            return self._script.take(request, at=at, caller=caller), 0  # It shows the difference.
        return known, 0


def _in_any_order(cassette: Cassette) -> Cassette:
    """Return the cassette of a trace without the order of its calls.

    A trace has times but no threads. A branch may have ended by chance before another one began.
    """
    if cassette.made_from is None:
        return cassette
    return replace(cassette, interactions=tuple(replace(one, after=()) for one in cassette.interactions))


def _check_signatures(sent: RecordedRequest) -> None:
    """Refuse a request that repeats a thought with an invented signature."""
    if INVENTED_SIGNATURE.encode() in sent.body:
        raise RecordingError(
            "a request repeats a thought whose signature the trace does not have, and services refuse an invented "
            "one. Start at an earlier span, or fork a trace made with init(replayable=True)."
        )


class ForkedRecording(Recording):
    """`recording()` of a fork, which saves the requests in `path`."""

    def __init__(self, path: Path, fork: ForkOptions, *, ignore: tuple[Any, ...] = ()) -> None:
        options = RecordingOptions(path=path, mode="new", tools=True, ignore=ignore)
        super().__init__(options)
        self._run = ForkedRun(options, fork)
