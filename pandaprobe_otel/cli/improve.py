"""`pandaprobe-otel improve`: prove that a change fixes failures and breaks nothing, before it is applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pandaprobe_otel.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from pandaprobe_otel.improve.proposing import Request, Response
    from pandaprobe_otel.improve.trial import CandidateResult
    from pandaprobe_otel.replay.capture.ordered_trace import StoredTrace

_FOLDER: Final = Path(".pandaprobe") / "improve"

folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=_FOLDER,
    show_default=True,
    help="Folder of the improvement. Each step writes files into it.",
)
candidate_option = click.option(
    "--candidate", type=click.IntRange(1), help="Number of the candidate. [default: newest]"
)


@click.group("improve")
def improve() -> None:
    """Prove that a change fixes failures and breaks nothing, before it is applied.

    The steps are start, propose, test, report and apply, in this order. Old and new program run side by side. Both get
    recorded answers up to the first call that the change alters, and live answers from there on. The verdict depends on
    failures that the author of the change has not seen.
    """


@improve.command("start")
@click.argument("traces", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--entry", required=True, metavar="MODULE:FUNCTION", help="Function that runs the program.")
@click.option(
    "--allow", "allowed", multiple=True, required=True, metavar="GLOB", help="Files that the change may alter."
)
@click.option("--group", metavar="FINGERPRINT", help="Failure group to fix. [default: the most frequent one]")
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="Function that returns True for a good answer and trace.",
)
@click.option("--live-tools", default="", metavar="NAMES", help="Tools that really run, separated by commas.")
@click.option(
    "--repeats",
    type=click.IntRange(1, 20),
    default=3,
    show_default=True,
    help="Maximum number of pairs of runs for each case.",
)
@click.option(
    "--candidates", type=click.IntRange(1, 20), default=3, show_default=True, help="Maximum number of candidates."
)
@click.option(
    "--max-calls", type=click.IntRange(0), default=0, show_default=True, help="Maximum number of model calls."
)
@folder_option
def start_command(traces: Path, entry: str, group: str | None, folder: Path, **given: Any) -> int:
    """Split the failed and passed traces of a file into cases, and write evidence of the failures that may be seen.

    TRACES is a file that `init(local=FILE)` or `traces export` wrote. All settings are final from here on.
    """
    from pandaprobe_otel.cli.user_functions import load_function
    from pandaprobe_otel.improve.settings import Settings
    from pandaprobe_otel.improve.starting import CannotStart, start
    from pandaprobe_otel.replay.capture.ordered_trace import traces_in

    try:
        failing, passing = _parted(traces_in(traces), group)
        settings = Settings(
            root=str(Path.cwd()),
            entry=entry,
            allowed=given["allowed"],
            checks=given["checks"],
            live_tools=tuple(name for name in given["live_tools"].split(",") if name),
            repeats=given["repeats"],
            candidates=given["candidates"],
            most_live=given["max_calls"],
        )
        started = start(folder, settings, failing=failing, passing=passing, entry=load_function(entry))
    except FileExistsError:
        raise click.UsageError(f"{folder} already contains an improvement: name another --folder.") from None
    except (CannotStart, ValueError, OSError) as error:
        raise click.UsageError(str(error)) from None
    parts = Counter(case.part for case in started.cases)
    click.echo(f"{parts['shown']} failures to look at, {parts['unseen']} unseen, {parts['protected']} passing runs.")
    click.echo(f"Evidence: {folder / 'evidence' / 'README.md'}")
    return ExitCode.OK


@improve.command("propose")
@click.option("--command", help="Program that reads the request as JSON and changes the files or prints new versions.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="PATH=NEW",
    help="Path of a changed file, and the file with its new version.",
)
@click.option("--rationale", default="", help="With --file: reason for the change.")
@folder_option
def propose_command(command: str | None, files: Sequence[str], rationale: str, folder: Path) -> int:
    """Add a candidate from a program, such as a coding agent, or from files. It is checked before it may run."""
    from pandaprobe_otel.improve.candidates import NoCandidate, propose
    from pandaprobe_otel.improve.proposing import ProposalFailed, Response, by_command

    if (command is None) == (not files):
        raise click.UsageError("pass either --command or --file")

    def proposer(request: Request) -> Response:
        if command is not None:
            return by_command(command, request, folder / "evidence" / "bundle.json")
        return Response(files=dict(map(_file, files)), rationale=rationale)

    try:
        candidate = propose(folder, proposer)
    except NoCandidate as error:
        click.echo(f"rejected: {error}")
        return ExitCode.GENERAL
    except (ProposalFailed, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"candidate {candidate.number}: {', '.join(sorted(candidate.files))}")
    return ExitCode.OK


@improve.command("test")
@candidate_option
@click.option(
    "--max-calls",
    type=click.IntRange(0),
    help="Maximum number of model calls in this test. [default: all that are left]",
)
@folder_option
def test_command(candidate: int | None, max_calls: int | None, folder: Path) -> int:
    """Run a candidate against the cases. Exit code 0: accepted; 1: rejected; 6: undecided."""
    from pandaprobe_otel.improve.candidates import NoCandidate, read_candidate, write_report
    from pandaprobe_otel.improve.trial import try_candidate

    try:
        chosen = read_candidate(folder, candidate)
        result = try_candidate(folder, chosen, say=lambda line: click.echo(line, err=True), most_calls=max_calls)
    except (NoCandidate, OSError) as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"{result.verdict}: {result.reason}\n{write_report(folder, chosen, result)}")
    return _exit_code(result)


@improve.command("report")
@candidate_option
@folder_option
def report_command(candidate: int | None, folder: Path) -> int:
    """Print the report of a tested candidate."""
    from pandaprobe_otel.improve.candidates import NoCandidate, read_candidate, read_result, write_report

    try:
        chosen = read_candidate(folder, candidate)
        result = read_result(folder, chosen.number)
    except (NoCandidate, OSError) as error:
        raise click.UsageError(str(error)) from None
    click.echo(write_report(folder, chosen, result).read_text(encoding="utf-8"), nl=False)
    return _exit_code(result)


@improve.command("apply")
@click.option("--yes", is_flag=True, help="Do not ask.")
@candidate_option
@folder_option
def apply_command(yes: bool, candidate: int | None, folder: Path) -> int:
    """Write an accepted candidate into the project, after confirmation. Nothing is committed."""
    from pandaprobe_otel.improve.candidates import NoCandidate, apply, read_candidate

    try:
        chosen = read_candidate(folder, candidate)
        if not yes and not click.confirm(f"Write {', '.join(sorted(chosen.files))}?"):
            return ExitCode.GENERAL
        changed = apply(folder, chosen)
    except (NoCandidate, OSError) as error:
        raise click.UsageError(str(error)) from None
    click.echo(f"changed: {', '.join(path.as_posix() for path in changed)}. Text for a pull request: pull_request.md")
    return ExitCode.OK


def _parted(found: Sequence[StoredTrace], group: str | None) -> tuple[list[StoredTrace], list[StoredTrace]]:
    """Return the traces with the failure to fix, and those without any failure. Raises ValueError if there is none to
    fix.
    """
    from pandaprobe_otel.failures.find import find_failures

    prints = [{each.fingerprint for each in find_failures(trace.body) if not each.recovered} for trace in found]
    counts = Counter(each for one in prints for each in one)
    if not counts:
        raise ValueError("no failure was found in these traces")
    chosen = group or counts.most_common(1)[0][0]
    failing = [trace for trace, one in zip(found, prints, strict=True) if chosen in one]
    return failing, [trace for trace, one in zip(found, prints, strict=True) if not one]


def _file(given: str) -> tuple[str, str]:
    name, _, path = given.partition("=")
    try:
        return name, Path(path or name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--file {given}: {error}") from None


def _exit_code(result: CandidateResult) -> ExitCode:
    return {"accepted": ExitCode.OK, "rejected": ExitCode.GENERAL}.get(result.verdict, ExitCode.NO_EVIDENCE)
