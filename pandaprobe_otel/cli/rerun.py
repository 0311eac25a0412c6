"""`pandaprobe-otel rerun`: run a recorded program again, live from a span on, with another model or prompt."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.cli.api_client import with_connection
from pandaprobe_otel.cli.exit_codes import ExitCode, exit_code_of_outcome
from pandaprobe_otel.cli.options import print_json
from pandaprobe_otel.cli.report_output import metric_options, thresholds_in
from pandaprobe_otel.cli.user_functions import load_function

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.evals.local_judge import LocalJudge
    from pandaprobe_otel.evals.report import Report
    from pandaprobe_otel.replay.capture.ordered_trace import StoredTrace
    from pandaprobe_otel.replay.fork.rerun import Forks
    from pandaprobe_otel.replay.interactions import Cassette


@click.command("rerun")
@click.argument("recorded", metavar="CASSETTE|TRACE")
@click.option(
    "--entry", metavar="MODULE:FUNCTION", help="Function that runs the program. [default: named by the trace]"
)
@click.option(
    "--arguments",
    metavar="JSON",
    help="Arguments: an object (by name), an array (in order), or one value. [default: those of the trace]",
)
@click.option("--from", "span", metavar="SPAN", help="First live span: its name or path, or the number of a call.")
@click.option("--model", metavar="MODEL", help="Model that replaces the one of the call at SPAN.")
@click.option(
    "--prompt",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a system prompt that replaces the one of the call at SPAN.",
)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Number of forks to run.")
@click.option(
    "--live-tools",
    metavar="NAMES",
    default="",
    help="Names of tools that may run, separated by commas. Other tools are played back.",
)
@click.option("--ignore", multiple=True, metavar="PATH", help="Paths in requests that may differ from the recording.")
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="Your own scorer function. Not billed. May be repeated.",
)
@metric_options
@click.option("--judge", metavar="MODEL", help="Judge model for each --metric, called from here.")
@click.option(
    "--judge-url", metavar="URL", help="With --judge: URL of an OpenAI-compatible endpoint. [default: the provider's]"
)
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="HTML file to write, with both runs side by side."
)
@with_connection
def rerun_command(connect: Callable[[], Client], recorded: str, **options: Any) -> int:
    """Run a recorded program again: played back up to a span, live from there.

    The recording is a cassette (.yaml), a file with one trace, or the id of a trace on the server. The program first
    runs with the whole recording, as a check that it still behaves the same. It then runs again: calls that had ended
    before SPAN began are played back, and later calls are sent and billed by the provider. Tools are played back. If a
    tool is called with arguments that were not recorded, it runs only if --live-tools names it. Each rerun is saved as
    a cassette.

    Exit code 1: a rerun failed, a metric is below its threshold, or the program no longer matches the recording. 6: no
    evidence.
    """
    from pandaprobe_otel.evals.comparison_html import comparison_page
    from pandaprobe_otel.replay.fork.fork_report import fork_text
    from pandaprobe_otel.replay.fork.rerun import RerunOptions, rerun

    prompt, scorers = options["prompt"], [load_function(name) for name in options["scorers"]]
    path, cassette, entry, arguments = _recorded(recorded, connect, options)
    forks = rerun(
        path,
        cassette,
        entry,
        RerunOptions(
            arguments=arguments,
            span=options["span"],
            model=options["model"],
            prompt=None if prompt is None else prompt.read_text(encoding="utf-8"),
            repeat=options["repeat"],
            live_tools=_names(options["live_tools"]),
            ignore=options["ignore"],
        ),
        metrics=[*dict(options["metrics"]), *scorers],
        thresholds=_thresholds(options, scorers),
        judge=_judge(options),
        say=_say,
    )
    if options["output_format"] == "json":
        print_json(_as_json(forks))
    else:
        click.echo(fork_text(forks))
    if options["html"] is not None:
        options["html"].write_text(comparison_page(forks.before, forks.after, forks.comparison), encoding="utf-8")
    return _exit_code(forks.after)


def _recorded(
    recorded: str, connect: Callable[[], Client], options: dict[str, Any]
) -> tuple[Path, Cassette, Callable[..., Any], Any]:
    """Return the file beside which reruns are saved, the recording, the program, and its arguments."""
    path, given = Path(recorded), _arguments(options["arguments"])
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        from pandaprobe_otel.replay.cassette import load

        if options["entry"] is None:
            raise click.UsageError("a cassette does not name the program: pass --entry MODULE:FUNCTION")
        return path, load(path), load_function(options["entry"]), given
    from pandaprobe_otel.replay.fork.trace_recording import arguments_in, entry_in, recorded_in

    trace = _trace(path, recorded, connect)
    cassette = recorded_in(trace)
    name = options["entry"] or entry_in(trace)
    if name is None:
        raise click.UsageError("the trace names no function below this directory: pass --entry MODULE:FUNCTION")
    entry = load_function(name)
    kept = Path(f"{name.rpartition(':')[2]}_{trace.trace_id[:8]}.yaml")
    return kept, cassette, entry, arguments_in(trace, entry) if given is None else given


def _trace(path: Path, recorded: str, connect: Callable[[], Client]) -> StoredTrace:
    from pandaprobe_otel.replay.capture.ordered_trace import StoredTrace, traces_in

    if not path.is_file():
        with connect() as client:
            return StoredTrace(client.traces.get(recorded).model_dump(mode="json"))
    try:
        found = traces_in(path)
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    if len(found) > 1:
        ids = ", ".join(trace.trace_id for trace in found[:5])
        raise click.UsageError(f"{path} holds {len(found)} traces ({ids}): name a file with one of them")
    return found[0]


def _arguments(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _thresholds(options: dict[str, Any], scorers: Sequence[Any]) -> dict[str, float]:
    from pandaprobe_otel.evals.marker_options import DEFAULT_THRESHOLD
    from pandaprobe_otel.evals.task_runs import scorer_name

    given = thresholds_in(options)
    common = given.get("", DEFAULT_THRESHOLD)
    names = [*dict(options["metrics"]), *map(scorer_name, scorers)]
    return dict.fromkeys(names, common) | {name: value for name, value in given.items() if name}


def _names(text: str) -> Sequence[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _judge(options: dict[str, Any]) -> LocalJudge | None:
    if options["judge"] is None:
        if options["metrics"] or options["judge_url"]:
            raise click.UsageError("--metric and --judge-url need --judge")
        return None
    from pandaprobe_otel.evals.local_judge import LocalJudge

    return LocalJudge(options["judge"], url=options["judge_url"])


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _as_json(forks: Forks) -> dict[str, Any]:
    from pandaprobe_otel.evals.side_by_side import first_difference, paired

    pairs = paired(forks.before, forks.after)
    first = first_difference(trace.spans for trace in pairs[0].traces)
    span = None if first is None else first.span
    return {
        "not_played": list(forks.cut.gone),
        "sent": [sum(not one.played for one in calls) for calls in forks.calls],
        "kept_in": [str(path) for path in forks.kept_in],
        "first_difference": None if span is None else {"kind": span.kind, "name": span.name},
        "recorded": forks.before.cases[0].to_dict(),
        "forks": [case.to_dict() for case in forks.after.cases],
    }


def _exit_code(report: Report) -> ExitCode:
    if any(case.error is not None for case in report.cases):
        return ExitCode.GENERAL
    # Without a metric nothing is judged, so a rerun that ends is a success.
    return exit_code_of_outcome(report.outcome) if any(case.results for case in report.cases) else ExitCode.OK
