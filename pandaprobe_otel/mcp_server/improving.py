"""The tool `improve`, registered with `--entry` and `--allow`: cases, candidates, paired runs and the verdict.

The program runs in separate processes, by `pandaprobe-otel improve`. Only a person applies a change.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from mcp.types import CallToolResult

from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.value_text import clipped, fitting, one_line, text_of
from pandaprobe_otel.errors import NotFound
from pandaprobe_otel.improve.candidates import NoCandidate, propose, read_candidate, read_result
from pandaprobe_otel.improve.proposing import ProposalFailed, Response
from pandaprobe_otel.improve.settings import Journal, read_settings
from pandaprobe_otel.mcp_server.bills import Bill, Bills
from pandaprobe_otel.mcp_server.fenced_answers import answer
from pandaprobe_otel.mcp_server.options import ServerOptions
from pandaprobe_otel.mcp_server.refusals import Refused
from pandaprobe_otel.mcp_server.trace_reader import Reading
from pandaprobe_otel.replay.json_text import dump

Step = Literal["start", "evidence", "propose", "test", "report"]

_FOLDER: Final = Path(".pandaprobe") / "improve"
_MOST_TRACES: Final = 50
_START_S: Final = 120.0
_WAIT_S: Final = 20.0
_MOST_TOKENS: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Test:
    """A running test: its process, and the model calls reserved for it."""

    process: subprocess.Popen[bytes]
    reserved: int
    sent_before: int


class ImproveTools:
    """Improvements, each in its own folder below `.pandaprobe/improve` of the program's folder."""

    def __init__(self, reading: Reading, options: ServerOptions, calls: Bills) -> None:
        self._reading = reading
        self._options = options
        self._calls = calls
        self._tests: dict[str, _Test] = {}
        atexit.register(self._end)

    def improve(
        self,
        step: Step,
        run: str = "1",
        group: str | None = None,
        query: str = "after:7d",
        files: dict[str, str] | None = None,
        rationale: str = "",
        confirm: str | None = None,
        *,
        approved: bool = True,
    ) -> CallToolResult:
        """Prove that a change mends a failure group: start, propose (files: path to whole new text), test, report.

        Unseen failures and passing runs decide. `test` first returns the maximum number of model calls, and a code.
        """
        if not run.isidentifier() and not run.isdigit():
            raise Refused("bad_arguments", "run must be a name of letters and digits", 'run="1", for example')
        folder = self._options.folder / _FOLDER / run
        if step == "start":
            return self._start(folder, group, query)
        if not (folder / "run.json").is_file():
            raise Refused("not_found", f"there is no improvement {run}", 'improve(step="start") begins one')
        if step == "evidence":
            return self._evidence(folder)
        if step == "propose":
            return self._propose(folder, files or {}, rationale)
        if step == "test":
            return self._test(folder, confirm, approved=approved)
        return self._report(folder)

    def calls_of(self, confirm: str | None) -> int | None:
        """Return the number of model calls in the bill with this code; None without a code or for an invalid one."""
        return None if confirm is None else self._calls.count_of(confirm)

    def _start(self, folder: Path, group: str | None, query: str) -> CallToolResult:
        if folder.exists():
            why = f"the improvement {folder.name} is there already"
            raise Refused("refused", why, 'use another run, or call improve(step="evidence")')
        rows = self._reading.searches.find(query, limit=_MOST_TRACES).rows
        bodies = list(filter(None, (self._body_or_none(str(row.trace_id)) for row in rows)))
        options = ["--entry", str(self._options.entry), "--max-calls", str(self._calls.limit)]
        options += [part for pattern in self._options.allowed for part in ("--allow", pattern)]
        options += ["--live-tools", ",".join(self._options.live_tools), *(["--group", group] if group else [])]
        with tempfile.TemporaryDirectory(prefix="pandaprobe-") as place:
            traces = Path(place, "traces.json")
            traces.write_text(dump(bodies), encoding="utf-8")
            command = self._command("start", folder, [str(traces), *options])
            try:
                done = subprocess.run(
                    command, cwd=self._options.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                    timeout=_START_S, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise Refused("upstream", f"the program could not be loaded in {_START_S:.0f} s") from None
        if done.returncode:
            why = f"no improvement can be made of the {len(bodies)} traces that were found"
            raise Refused("refused", why, "use another query or group", recorded=done.stderr.strip()[-600:])
        return self._evidence(folder)

    def _body_or_none(self, trace_id: str) -> dict[str, Any] | None:
        """Return a stored trace; None if it was deleted after the search."""
        try:
            return self._reading.trace(trace_id).model_dump(mode="json")
        except NotFound:
            return None

    def _evidence(self, folder: Path) -> CallToolResult:
        bundle: dict[str, Any] = json.loads((folder / "evidence" / "bundle.json").read_text(encoding="utf-8"))
        lines = [f"failed: {one_line(title)}" for title in bundle["titles"]]
        lines += [f"{case['id']} {clipped(one_line(text_of(case['input'])), 100)}" for case in bundle["cases"]]
        inside = self._reading.scrubber.text("\n".join(lines))
        head = f"{bundle['failures']} failures, {len(bundle['cases'])} to look at; the others decide"
        step = f"files that may change: {', '.join(bundle['allowed'])}\nNext: get_trace of these, then propose"
        return self._described(folder, "started", f"{head}\n{self._reading.fence().around(inside)}\n{step}")

    def _propose(self, folder: Path, files: dict[str, str], rationale: str) -> CallToolResult:
        try:
            made = propose(folder, lambda _: Response(files=files, rationale=rationale))
        except NoCandidate as error:
            step = "a general rule, in files that may change, without words of the examples"
            raise Refused("refused", "the change is rejected before it runs", step, recorded=str(error)) from None
        except (ProposalFailed, OSError) as error:
            raise Refused("upstream", "the project could not be copied", recorded=str(error)) from None
        text = f'candidate {made.number}: {", ".join(sorted(made.files))}\nNext: improve(step="test")'
        return self._described(folder, "proposed", text)

    def _test(self, folder: Path, confirm: str | None, *, approved: bool) -> CallToolResult:
        if folder.name in self._tests:
            return self._report(folder)
        try:
            candidate = read_candidate(folder).number
        except NoCandidate as error:
            raise Refused("refused", "there is no candidate", "propose one", recorded=str(error)) from None
        sent = Journal(folder).live_calls()
        most = max(0, min(read_settings(folder).most_live - sent, self._calls.limit))
        bill = Bill(target=f"{folder.name}/{candidate}", metrics=("improve",), count=most)
        if confirm is None:
            code = self._calls.tell(bill)
            text = (
                f"at most {most} model calls would be sent; {self._calls.limit} are left\n"
                f'Next: tell the person, then improve(step="test", run="{folder.name}", confirm="{code}")'
            )
            numbers = {"run": folder.name, "state": "proposed", "calls": most, "confirm": code}
            return answer(text, numbers)
        self._calls.take(confirm, bill)
        if not approved:
            self._calls.give_back(most)
            raise Refused("refused", "the person did not approve", "do not ask again for the same")
        command = self._command("test", folder, ["--candidate", str(candidate), "--max-calls", str(most)])
        with (folder / "test.txt").open("wb") as printed:
            process = subprocess.Popen(
                command, cwd=self._options.folder, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed
            )
        self._tests[folder.name] = _Test(process, most, sent)
        return self._report(folder)

    def _report(self, folder: Path) -> CallToolResult:
        running = self._tests.get(folder.name)
        if running is not None:
            try:
                running.process.wait(_WAIT_S)
            except subprocess.TimeoutExpired:
                pairs = sum(1 for _ in (folder / "candidates").glob("*/pairs/*/*.new.json"))
                text = f'the test goes on: {pairs} runs of the change are made\nNext: improve(step="report")'
                return self._described(folder, "testing", text)
            del self._tests[folder.name]
            self._calls.give_back(max(0, running.reserved - (Journal(folder).live_calls() - running.sent_before)))
        try:
            candidate = read_candidate(folder).number
            result = read_result(folder, candidate)
        except NoCandidate as error:
            printed = folder / "test.txt"
            last = printed.read_text(encoding="utf-8", errors="replace")[-600:] if printed.exists() else str(error)
            raise Refused("refused", "there is no verdict", "propose, then test", recorded=last) from None
        report = (folder / "candidates" / str(candidate) / "report.md").read_text(encoding="utf-8")
        inside = self._reading.scrubber.text(report)
        if tokens_in(inside) > _MOST_TOKENS:
            inside = inside[: fitting(inside, _MOST_TOKENS)] + "\n… the rest is in report.md"
        apply = f"the person applies it: pandaprobe-otel improve apply --folder {_FOLDER / folder.name}"
        step = apply if result.verdict == "accepted" else "tell the numbers; do not try the same idea again"
        text = f"candidate {candidate}: {result.verdict}\n{self._reading.fence().around(inside)}\nNext: {step}"
        return self._described(folder, str(result.verdict), text)

    def _described(self, folder: Path, state: str, text: str) -> CallToolResult:
        return answer(text, {"run": folder.name, "state": state, "calls": Journal(folder).live_calls()})

    def _command(self, step: str, folder: Path, options: Sequence[str]) -> list[str]:
        return [*self._options.command, "improve", step, *options, "--folder", str(folder)]

    def _end(self) -> None:
        """Stop running tests. The next test continues after their finished pairs."""
        for running in self._tests.values():
            running.process.terminate()
