"""`pandaprobe-otel replay rerun`: run recorded programs again, live from a span on, with another model or prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.api.traces import TraceFilters
from pandaprobe_otel.cli.capture import stored_traces
from pandaprobe_otel.cli.evaluate import judge_of, judge_options, metric_options, scorer_option, thresholds_of
from pandaprobe_otel.cli.exit_codes import ExitCode, exit_code_of_outcome
from pandaprobe_otel.cli.options import COUNT, FILE, NEW_FILE, option, print_json, with_connection
from pandaprobe_otel.cli.rows import options_of
from pandaprobe_otel.cli.value_types import JSON, NAMES, load_function

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.replay.capture.stored_trace import StoredTrace
    from pandaprobe_otel.replay.fork.rerun import RecordedRun, Reruns


@click.command("rerun")
@click.argument("recorded", metavar="[CASSETTE|TRACE...]", nargs=-1)
@options_of(TraceFilters)
@option("--limit", "With filters: maximum number of traces.", COUNT, 20)
@option("--entry", "Function that runs the program. [default: named by the trace]", metavar="MODULE:FUNCTION")
@option(
    "--arguments",
    "Arguments: an object (by name), an array (in order), or one value. [default: those of the trace]",
    JSON,
)
@option("--from span", "First live span: its name or path, or the number of a call.", metavar="SPAN")
@option("--model", "Model that replaces the one of the call at SPAN.", metavar="MODEL")
@option("--prompt", "File with a system prompt that replaces the one of the call at SPAN.", FILE)
@option("--repeat", "Number of forks to run.", COUNT, 1)
@option(
    "--live-tools",
    "Names of tools that may run, separated by commas. Other tools are played back.",
    NAMES,
    "",
    show_default=False,
)
@option("--ignore", "Paths in requests that may differ from the recording.", multiple=True, metavar="PATH")
@scorer_option
@metric_options
@judge_options
@option("--html", "HTML file to write, with both runs side by side.", NEW_FILE)
@with_connection
def rerun(connect: Callable[[], Client], recorded: Sequence[str], given: dict[str, Any], **options: Any) -> int:
    """Run recorded programs again: played back up to a span, live from there.

    A recording is a cassette (.yaml), a file with traces, or a trace on the server, selected by its id or by filters.
    The program first runs with the whole recording, as a check that it still behaves the same. It then runs again:
    calls that had ended before SPAN began are played back, and later calls are sent and billed by the provider. Tools
    are played back. If a tool is called with arguments that were not recorded, it runs only if --live-tools names it.
    Each rerun is saved as a cassette. With several traces, the recorded runs and the reruns are compared in pairs.

    Exit code 1: a rerun failed, a metric is below its threshold, or the program no longer matches the recording. 6: no
    evidence. With several traces, thresholds do not count: 1 means that a metric is significantly worse or a rerun
    failed.
    """
    from pandaprobe_otel.evals.report_blocks import comparison_page
    from pandaprobe_otel.replay.fork.forked_run import RerunOptions
    from pandaprobe_otel.replay.fork.rerun import rerun as rerun_one
    from pandaprobe_otel.replay.fork.rerun import rerun_each, rerun_text

    if bool(recorded) == bool(given):
        raise click.UsageError("pass either recordings or filters")
    prompt, judge = options["prompt"], judge_of(options)
    if options["metrics"] and judge is None:
        raise click.UsageError("--metric needs --judge")
    wanted = RerunOptions(
        span=options["span"],
        model=options["model"],
        prompt=None if prompt is None else prompt.read_text(encoding="utf-8"),
        repeat=options["repeat"],
        live_tools=options["live_tools"],
        ignore=options["ignore"],
    )
    judging: dict[str, Any] = {
        "metrics": [*dict(options["metrics"]), *options["scorers"]],
        "thresholds": thresholds_of(options),
        "judge": judge,
        "say": _say,
    }
    traces = None if _is_cassette(recorded) else stored_traces(connect, recorded, given, options["limit"])
    if traces == []:
        raise click.UsageError("no trace matches the filters")
    if traces is None or len(traces) == 1:
        one = _of_cassette(Path(recorded[0]), options) if traces is None else _of_trace(traces[0], options)
        runs = rerun_one(one, wanted, **judging)
    elif options["arguments"] is not None:
        raise click.UsageError("--arguments is for a single recording: each trace has its own arguments")
    else:
        runs = rerun_each({trace.trace_id: partial(_of_trace, trace, options) for trace in traces}, wanted, **judging)
    if options["output_format"] == "json":
        print_json(_as_json(runs))
    else:
        click.echo(rerun_text(runs))
    if options["html"] is not None:
        options["html"].write_text(comparison_page(runs.before, runs.after, runs.comparison), encoding="utf-8")
    return _exit_code(runs)


def _is_cassette(recorded: Sequence[str]) -> bool:
    """Return whether a cassette is named. Raises UsageError if anything else is named beside it."""
    cassettes = [name for name in recorded if Path(name).suffix in (".yaml", ".yml")]
    if cassettes and len(recorded) > 1:
        raise click.UsageError(f"name {cassettes[0]} alone: only traces can be run again together")
    return bool(cassettes)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _of_cassette(path: Path, options: Mapping[str, Any]) -> RecordedRun:
    from pandaprobe_otel.replay.cassette import load
    from pandaprobe_otel.replay.fork.rerun import RecordedRun

    if options["entry"] is None:
        raise click.UsageError("a cassette does not name the program: pass --entry MODULE:FUNCTION")
    entry, arguments = load_function(options["entry"]), options["arguments"]
    return RecordedRun(path=path, cassette=load(path), entry=entry, arguments=arguments)


def _of_trace(trace: StoredTrace, options: Mapping[str, Any]) -> RecordedRun:
    from pandaprobe_otel.replay.capture.test_entry import entry_of
    from pandaprobe_otel.replay.fork.rerun import run_of

    found = entry_of(trace, given=options["entry"])
    if found.module is None:
        raise click.UsageError("the trace names no function below this directory: pass --entry MODULE:FUNCTION")
    return run_of(trace, load_function(f"{found.module}:{found.name}"), options["arguments"])


def _as_json(runs: Reruns) -> dict[str, Any]:
    from pandaprobe_otel.replay.fork.rerun import shown_pair
    from pandaprobe_otel.traces.comparison import first_difference

    first = None if runs.cut is None else first_difference(shown_pair(runs).traces)
    comparison = runs.comparison
    return {
        "not_played": [] if runs.cut is None else list(runs.cut.gone),
        "sent": list(runs.sent),
        "kept_in": [str(path) for path in runs.kept_in],
        "not_run": dict(runs.refused),
        "first_difference": None if first is None else {"kind": first.span.kind, "name": first.span.name},
        "comparison": {"outcome": comparison.outcome, **asdict(comparison)},
        "recorded": [case.to_dict() for case in runs.before.cases],
        "forks": [case.to_dict() for case in runs.after.cases],
    }


def _exit_code(runs: Reruns) -> ExitCode:
    cases = runs.after.cases
    if any(case.error is not None for case in cases):
        return ExitCode.GENERAL
    if runs.cut is None:
        return exit_code_of_outcome(runs.comparison.outcome)
    # Without a metric nothing is judged, so a rerun that ends is a success.
    return exit_code_of_outcome(runs.after.outcome) if any(case.results for case in cases) else ExitCode.OK
