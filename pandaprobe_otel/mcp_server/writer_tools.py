"""Tools that write: score, make a test. They exist only with `--allow-writes`.

Judging and reruns, which cost money, are commands for the agent's shell: `evals run` and `replay rerun`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp.types import CallToolResult

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.mcp_server.trace_reader import Reading, Refused, answer
from pandaprobe_otel.replay.capture.stored_trace import CannotCapture, StoredTrace
from pandaprobe_otel.replay.capture.write import Captured, capture, path_of_cassette


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Permissions of the person who starts the server, which come only from the command line.

    Attributes:
        writes: True to offer the tools that score and make tests.
        entry: The program's function as `module:function`, for tests.
        tests: The folder that tests are written to.
        folder: The program's folder.
    """

    writes: bool = False
    entry: str | None = None
    tests: Path = Path("tests")
    folder: Path = field(default_factory=Path.cwd)


class WriterTools:
    """Tools that send POST requests, or write files below the folder of tests."""

    def __init__(self, reading: Reading, options: ServerOptions) -> None:
        self._reading = reading
        self._options = options

    def add_score(self, target: str, name: str, value: float | bool | str, reason: str | None = None) -> CallToolResult:
        """Add a score to a trace: 0 to 1, true or false, or a label; with the reason."""
        score = self._reading.client.score(target.strip(), name, value, reason=reason)
        return answer(f"scored: {score.id}", {"id": str(score.id)})

    def capture_test(self, target: str, path: str) -> CallToolResult:
        """Write a pytest file that fails as the trace did, offline. path: below the folder of tests."""
        file = self._file(path)
        stored = StoredTrace(self._reading.trace(target).model_dump(mode="json"))
        try:
            made = capture([stored], file, entry=self._options.entry, folder=self._options.folder)
        except CannotCapture as error:
            why = "no test can be made of this trace"
            raise Refused("refused", why, "choose another trace", recorded=str(error)) from None
        except FileExistsError:
            raise _exists(file) from None
        except (ValueError, RecordingError, OSError) as error:
            step = "tell the person; --entry names the program"
            raise Refused("bad_arguments", "the test could not be made", step, recorded=str(error)) from None
        return self._described(made)

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


def _exists(file: Path) -> Refused:
    return Refused("refused", f"{file.name} exists already; nothing is overwritten", "name another file")


def _relative(path: Path, folder: Path) -> Path:
    try:
        return path.resolve().relative_to(folder.resolve())
    except ValueError:
        return path
