"""Tool that runs the program again, recorded up to a span and live from there. It needs `--entry` too.

The program runs in a separate process, through `pandaprobe-otel replay rerun`, so that it cannot affect the server.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Final

from mcp.types import CallToolResult
from pydantic import Field

from pandaprobe_otel.compact.values import clipped, one_line, text_of
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.mcp_server.bills import Bills
from pandaprobe_otel.mcp_server.fenced_answers import answer
from pandaprobe_otel.mcp_server.options import ServerOptions
from pandaprobe_otel.mcp_server.refusals import Refused
from pandaprobe_otel.mcp_server.trace_reader import Reading
from pandaprobe_otel.protocols.encoding import dump
from pandaprobe_otel.replay.capture.cannot_capture import CannotCapture
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
from pandaprobe_otel.replay.fork.recording_cut import cut_from
from pandaprobe_otel.replay.fork.trace_recording import recorded_in

_LONGEST_S: Final = 600.0


class RerunTools:
    """Runner of the program that the command line names."""

    def __init__(self, reading: Reading, options: ServerOptions, calls: Bills) -> None:
        self._reading = reading
        self._options = options
        self._calls = calls

    def replay(
        self,
        target: str,
        from_span: str,
        prompt: str | None = None,
        model: str | None = None,
        repeat: Annotated[int, Field(ge=1, le=10)] = 1,
    ) -> CallToolResult:
        """Run the program as in a trace, live from a span on (name, or a call's number), with another prompt or model.

        Calls after the span are sent and cost money. Tools are played back; none runs.
        """
        trace = StoredTrace(self._reading.trace(target).model_dump(mode="json"))
        expected = self._expected(trace, from_span) * repeat
        # A run that fails uses up its calls too, because nobody can tell how many it has sent.
        if not self._calls.spend(expected):
            raise Refused(
                "refused",
                f"at least {expected} model calls would be sent, but only {self._calls.limit} are left",
                "choose a later span or fewer repeats; the person can raise the limit with --max-calls",
            )
        options = ["--from", from_span, "--repeat", str(repeat), "--entry", str(self._options.entry)]
        told = self._run(trace, [*options, *(("--model", model) if model is not None else ())], prompt)
        self._kept(told)
        sent = sum(told["sent"])
        self._calls.give_back(expected - sent)
        return self._described(told, sent)

    def _expected(self, trace: StoredTrace, from_span: str) -> int:
        """Return the number of calls that the recorded run sent from a span on."""
        try:
            return len(cut_from(recorded_in(trace), from_span).gone)
        except (CannotCapture, RecordingError) as error:
            why = "this trace cannot be run again from there"
            raise Refused("refused", why, "choose another trace or span", recorded=str(error)) from None

    def _run(self, trace: StoredTrace, options: list[str], prompt: str | None) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="pandaprobe-") as folder:
            recorded = Path(folder, "trace.json")
            recorded.write_text(dump([trace.body]), encoding="utf-8")
            if prompt is not None:
                file = Path(folder, "prompt.txt")
                file.write_text(prompt, encoding="utf-8")
                options += ["--prompt", str(file)]
            command = [*self._options.command, "replay", "rerun", *options, "--format", "json", str(recorded)]
            try:
                done = subprocess.run(
                    command,
                    cwd=self._options.folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=_LONGEST_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise Refused("upstream", f"the program did not end within {_LONGEST_S:.0f} s") from None
        begin = done.stdout.find("\n{") + 1  # The program's own output comes before the JSON.
        try:
            told: dict[str, Any] = json.loads(done.stdout[begin:])
        except ValueError:
            last = done.stderr.strip()[-400:]
            raise Refused("upstream", "the program could not be run again", recorded=last) from None
        return told

    def _kept(self, told: dict[str, Any]) -> None:
        """Move the cassettes of forks from the program's folder to the folder of tests."""
        folder = self._options.tests / "cassettes"
        folder.mkdir(parents=True, exist_ok=True)
        for name in told["kept_in"]:
            kept = self._options.folder / name
            places = (folder / f"{kept.stem}{f'-{number}' if number else ''}{kept.suffix}" for number in count())
            shutil.move(kept, next(place for place in places if not place.exists()))

    def _described(self, told: dict[str, Any], sent: int) -> CallToolResult:
        first = told["first_difference"]
        lines = [f"first difference: {first['kind']} {one_line(first['name'])}" if first else "no difference"]
        for case in told["forks"]:
            outcome = f"failed: {case['error']}" if case.get("error") else text_of(case.get("output"))
            lines.append(f"{case['id']}: {clipped(one_line(self._reading.scrubber.text(outcome)), 150)}")
        failed = sum(bool(case.get("error")) for case in told["forks"])
        head = f"{len(told['forks'])} runs, {failed} failed, {sent} calls sent, {self._calls.limit} left"
        text = f"{head}\n{self._reading.fence().around(chr(10).join(lines))}"
        return answer(text, {"runs": len(told["forks"]), "failed": failed, "calls": sent})
