"""Tools that write: judge, score, make a test. They exist only with `--allow-writes`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mcp.types import CallToolResult

from pandaprobe_otel.errors import RecordingError, WaitTimeout
from pandaprobe_otel.mcp_server.bills import Bill, Bills
from pandaprobe_otel.mcp_server.fenced_answers import answer
from pandaprobe_otel.mcp_server.options import ServerOptions
from pandaprobe_otel.mcp_server.refusals import Refused
from pandaprobe_otel.mcp_server.trace_reader import Reading
from pandaprobe_otel.replay.capture.cannot_capture import CannotCapture
from pandaprobe_otel.replay.capture.pytest_file import path_of_cassette
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
from pandaprobe_otel.replay.capture.write import Captured, Wishes, capture

_WAIT_S: Final = 20.0


class WriterTools:
    """Tools that send POST requests, or write files below the folder of tests."""

    def __init__(self, reading: Reading, options: ServerOptions, bills: Bills) -> None:
        self._reading = reading
        self._options = options
        self._bills = bills

    def evaluate(
        self, target: str, metrics: list[str], confirm: str | None = None, *, approved: bool = True
    ) -> CallToolResult:
        """Judge trace ids (with commas) or `session:ID`. Judging is billed.

        Without `confirm`, it returns the bill and a code. Tell the person the number, then call again with the code.
        """
        sessions, traces = _targets(target)
        bill = Bill(target=target, metrics=tuple(metrics), count=self._judgements(sessions, traces, metrics))
        if confirm is None:
            code = self._bills.tell(bill)
            text = (
                f"{bill.count} judgements would be billed; {self._bills.limit} are left.\n"
                f'Next: tell the person, then evaluate with the same arguments and confirm="{code}"'
            )
            return answer(text, {"judgements": bill.count, "left": self._bills.limit, "confirm": code})
        self._bills.take(confirm, bill)
        if not approved:
            raise Refused("refused", "the person did not approve", "do not ask again for the same")
        return self._judged(sessions, traces, metrics)

    def judgements_of(self, confirm: str | None) -> int | None:
        """Return the number of judgements in the bill with this code; None without a code or for an invalid one."""
        return None if confirm is None else self._bills.count_of(confirm)

    def add_score(self, target: str, name: str, value: float | bool | str, reason: str | None = None) -> CallToolResult:
        """Add a score to a trace: 0 to 1, true or false, or a label; with the reason."""
        score = self._reading.client.score(target.strip(), name, value, reason=reason)
        return answer(f"scored: {score.id}", {"id": str(score.id)})

    def capture_test(self, target: str, path: str) -> CallToolResult:
        """Write a pytest file that fails as the trace did, offline. path: below the folder of tests."""
        file = self._file(path)
        stored = StoredTrace(self._reading.trace(target).model_dump(mode="json"))
        try:
            made = capture([stored], file, Wishes(entry=self._options.entry, folder=self._options.folder))
        except CannotCapture as error:
            why = "no test can be made of this trace"
            raise Refused("refused", why, "choose another trace", recorded=str(error)) from None
        except FileExistsError:
            raise _exists(file) from None
        except (ValueError, RecordingError, OSError) as error:
            step = "tell the person; --entry names the program"
            raise Refused("bad_arguments", "the test could not be made", step, recorded=str(error)) from None
        return self._described(made)

    def _judgements(self, sessions: list[str], traces: list[str], metrics: list[str]) -> int:
        client = self._reading.client
        of_traces = {metric.name for metric in client.evaluations.trace_metrics()}
        known = of_traces | {metric.name for metric in client.evaluations.session_metrics()}
        if unknown := [metric for metric in metrics if metric not in known]:
            why = f"there is no metric {', '.join(unknown)}"
            raise Refused("bad_arguments", why, f"there are: {', '.join(sorted(known))}")
        kinds = {metric in of_traces for metric in metrics}
        if len(kinds) != 1:
            raise Refused("bad_arguments", "metrics of traces and of sessions need separate evaluations")
        if not sessions:
            if kinds == {False}:
                raise Refused("bad_arguments", "these metrics judge sessions", 'target="session:ID"')
            for trace in traces:
                self._reading.trace(trace)
            return len(traces) * len(metrics)
        session = client.sessions.get(sessions[0], limit=1)
        return (session.trace_count if kinds == {True} else 1) * len(metrics)

    def _judged(self, sessions: list[str], traces: list[str], metrics: list[str]) -> CallToolResult:
        evaluations = self._reading.client.evaluations
        run = evaluations.run(metrics, session=sessions[0]) if sessions else evaluations.run(metrics, traces=traces)
        try:
            result = run.wait(_WAIT_S)
        except WaitTimeout:
            text = f'run {run.id} has not ended yet\nNext: get_scores(target="run:{run.id}")'
            return answer(text, {"run_id": str(run.id), "scores": 0})
        lines = [_score_line(self._reading.shown(score)) for score in result.scores]
        text = self._reading.fence().around("\n".join(lines) or "no scores")
        return answer(f"run {run.id}: {len(lines)} scores\n{text}", {"run_id": str(run.id), "scores": len(lines)})

    def _file(self, path: str) -> Path:
        """Return the file of a test. Raises Refused for a file outside of the folder, and for an existing one."""
        folder = self._options.tests.resolve()
        file = (folder / path.removeprefix(f"{self._options.tests}/")).resolve()
        if not file.is_relative_to(folder) or file.suffix != ".py" or not file.stem.isidentifier():
            raise Refused(
                "refused",
                f"tests must be Python files below {self._options.tests}",
                'path="test_refund.py", for example',
            )
        for one in (file, path_of_cassette(file)):
            if one.exists():
                raise _exists(one)
        return file

    def _described(self, made: Captured) -> CallToolResult:
        test = _relative(made.test, self._options.folder)
        lines = [
            f"runs: {made.runs}",
            *(f"to fix: {finding.told}" for finding in made.found),
            *(f"note: {note}" for note in made.notes),
        ]
        inside = self._reading.scrubber.text("\n".join(lines)) or "nothing"
        fill_in = [
            number for number, line in enumerate(made.test.read_text("utf-8").splitlines(), 1) if "fill in" in line
        ]
        head = f"{test}: {made.calls} model calls and {made.tools} tool calls are played back"
        step = f"Next: run `pytest {test}`: it must fail for the reason that you have named; then fix the program"
        cassette = str(_relative(made.cassette, self._options.folder))
        numbers: dict[str, Any] = {"test": str(test), "cassette": cassette, "fill_in": fill_in}
        return answer(f"{head}\n{self._reading.fence().around(inside)}\n{step}", numbers)


def _targets(target: str) -> tuple[list[str], list[str]]:
    kind, _, name = target.partition(":")
    if kind == "session" and name:
        return [name], []
    return [], list(dict.fromkeys(one.strip() for one in target.split(",") if one.strip()))


def _exists(file: Path) -> Refused:
    return Refused("refused", f"{file.name} exists already; nothing is overwritten", "name another file")


def _relative(path: Path, folder: Path) -> Path:
    try:
        return path.resolve().relative_to(folder.resolve())
    except ValueError:
        return path


def _score_line(score: Any) -> str:
    return f"{score['name']} {score['value']} {score['status']}: {score.get('reason') or ''}"
