"""`pandaprobe-otel replay capture`: turn a failed trace into a test."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.api.traces import TraceFilters
from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import NEW_FILE, counted, flag, option, print_json, with_connection
from pandaprobe_otel.cli.rows import options_of
from pandaprobe_otel.cli.value_types import NAMES

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
    from pandaprobe_otel.replay.capture.write import Captured


@click.command("capture")
@click.argument("trace", required=False)
@option(
    "--to to",
    "Test file to write. For several traces: folder of the tests.",
    click.Path(path_type=Path),
    metavar="PATH",
)
@option("--entry", "Function that runs the program, if the trace does not name it.", metavar="MODULE:FUNCTION")
@option(
    "--live-tools",
    "Tools that really run instead of being played back: `all`, or names separated by commas.",
    NAMES,
    "",
    show_default=False,
)
@flag("--session", "Make one test of all traces in the trace's session.")
@option("--dataset", "Dataset (.jsonl) to which the captured cases are added as rows.", NEW_FILE, metavar="FILE")
@option("--monitor", "Capture the traces that this monitor scored below 0.5.", metavar="ID")
@options_of(TraceFilters)
@with_connection
def capture(
    connect: Callable[[], Client],
    trace: str | None,
    given: dict[str, Any],
    output_format: str,
    *,
    to: Path | None,
    monitor: str | None,
    session: bool,
    dataset: Path | None,
    **wishes: Any,
) -> int:
    """Turn a failed trace into a test, which runs offline, fails as the trace did, and passes once the cause is fixed.

    TRACE is the id of a trace, or a file of traces that `init(local=FILE)` or `traces export` wrote. Without TRACE, all
    traces that match the filters or `--monitor` are captured. Traces that failed alike become one test.
    """
    scores: dict[str, list[Any]] = {}
    found = _traces(connect, trace, given, monitor, scores, is_session=session)
    if dataset is not None:
        _add_rows(dataset, found)
        if to is None:
            return ExitCode.OK
    names = wishes.pop("live_tools")
    wishes["live_tools"] = True if names == ["all"] else names
    if session or (len(found) == 1 and trace is not None):
        made = [_written(found, _file(found[0], to), wishes)]
    else:
        made = _groups(found, scores, to or Path("tests"), wishes)
    _print([one for one in made if one is not None], output_format)
    return ExitCode.OK if all(made) else ExitCode.VALIDATION


def _traces(
    connect: Callable[[], Client],
    trace: str | None,
    given: dict[str, Any],
    monitor: str | None,
    scores: dict[str, list[Any]],
    *,
    is_session: bool,
) -> list[StoredTrace]:
    """Return the traces to capture, and add a monitor's low scores to `scores`.

    Raises UsageError if no trace is named.
    """
    if trace is None and monitor is None and not given:
        raise click.UsageError("no trace is named: pass an id, a file, filters such as --status ERROR, or --monitor")
    names = [] if trace is None else [trace]
    if is_session and trace is not None and not Path(trace).is_file():
        return _session(connect, trace)
    if not names and monitor is not None:
        scores.update(_scored_low(connect, monitor))
        names, given = list(scores), {}
    found = stored_traces(connect, names, given)
    return _of_one_session(found) if is_session and trace is not None else found


def stored_traces(
    connect: Callable[[], Client], names: Sequence[str], given: Mapping[str, Any], limit: int | None = None
) -> list[StoredTrace]:
    """Return the traces of files and ids, or else those of the server that match filters."""
    from pandaprobe_otel.replay.capture.stored_trace import StoredTrace, traces_in

    found: list[StoredTrace] = []
    ids: list[str] = []
    try:
        for name in names:
            found += traces_in(Path(name)) if Path(name).is_file() else ()
            ids += () if Path(name).is_file() else (name,)
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    if ids or given:
        with connect() as client:
            wanted = ids or [str(row.trace_id) for row in islice(client.traces.iter(**given), limit)]
            found += [StoredTrace(client.traces.get(one).model_dump(mode="json")) for one in wanted]
    return found


def _session(connect: Callable[[], Client], trace: str) -> list[StoredTrace]:
    from pandaprobe_otel.replay.capture.stored_trace import StoredTrace

    with connect() as client:
        session = client.traces.get(trace).session_id
        if session is None:
            raise click.UsageError(f"trace {trace} has no session: leave out --session")
        return [StoredTrace(one.model_dump(mode="json")) for one in client.sessions.get(session).traces]


def _of_one_session(found: list[StoredTrace]) -> list[StoredTrace]:
    sessions = {trace.session_id for trace in found}
    if len(sessions) != 1 or None in sessions:
        raise click.UsageError("--session needs a file with the traces of exactly one session")
    return found


def _scored_low(connect: Callable[[], Client], monitor: str) -> dict[str, list[Any]]:
    """Return the low scores of a monitor by trace, with the latest score of each name."""
    from pandaprobe_otel.failures.find import is_low

    found: dict[str, dict[str, Any]] = {}
    with connect() as client:
        for run in client.monitors.iter_runs(monitor):
            for score in client.evaluations.trace_runs.scores(run.id):
                if is_low(score.value):
                    found.setdefault(str(score.trace_id), {}).setdefault(score.name, score.model_dump(mode="json"))
    return {trace_id: list(scores.values()) for trace_id, scores in found.items()}


def _file(trace: StoredTrace, to: Path | None) -> Path:
    """Return the given test file, or one named after the program and the trace's id."""
    name = re.sub(r"\W+", "_", trace.root.name, flags=re.ASCII).strip("_").lower()[:60] or "trace"
    own = f"test_{name}_{trace.trace_id[:8]}.py"
    if to is None:
        return Path("tests") / own
    return to / own if to.is_dir() or to.suffix != ".py" else to


def _written(traces: Sequence[StoredTrace], file: Path, wishes: Mapping[str, Any]) -> Captured | None:
    """Write one test. Print a message and return None if no test can be made of a trace."""
    from pandaprobe_otel.replay.capture.stored_trace import CannotCapture
    from pandaprobe_otel.replay.capture.write import capture as write

    try:
        return write(traces, file, **wishes, shows=lambda call: click.echo(f"{file} will run {call}", err=True))
    except CannotCapture as error:
        click.echo(f"trace {traces[0].trace_id} cannot be captured: {error}", err=True)
        return None
    except FileExistsError as error:
        raise click.UsageError(str(error)) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--entry") from None


def _groups(
    found: Sequence[StoredTrace], scores: dict[str, list[Any]], folder: Path, wishes: Mapping[str, Any]
) -> list[Captured | None]:
    from pandaprobe_otel.replay.capture.many_traces import alike

    if not found:
        raise click.UsageError("no trace fits")
    made: list[Captured | None] = []
    for first, *others in alike(found, scores):
        file = _file(first, folder)
        if file.exists():
            click.echo(f"{file} exists already", err=True)
            continue
        made.append(_written([first], file, wishes))
        if others:
            click.echo(f"{len(others) + 1} traces failed like {first.trace_id}", err=True)
    return made


def _add_rows(file: Path, found: Sequence[StoredTrace]) -> None:
    from pandaprobe_otel.replay.capture.many_traces import add_rows

    try:
        count = add_rows(file, found)
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"{counted(count, 'row')} added to {file}")


def _print(made: Sequence[Captured], output_format: str) -> None:
    if output_format == "json":
        print_json(
            [
                {
                    "test": str(one.test),
                    "runs": one.runs,
                    "cassette": str(one.cassette),
                    "calls": one.calls,
                    "tools": one.tools,
                    "to_mend": [finding.told for finding in one.found],
                    "notes": list(one.notes),
                }
                for one in made
            ]
        )
        return
    for one in made:
        click.echo(
            f"{one.test}: {counted(one.calls, 'model call')}, {counted(one.tools, 'tool call')} in {one.cassette}"
        )
        for finding in one.found:
            click.echo(f"  to fix: {finding.told}")
        for note in one.notes:
            click.echo(f"  note: {note}", err=True)
        click.echo(f"  python -m pytest {one.test}")
