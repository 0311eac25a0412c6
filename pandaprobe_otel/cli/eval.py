"""`pandaprobe-otel eval`: run a task over a dataset and judge the results, for CI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pandaprobe_otel.cli.report_output import concluded, metric_options, thresholds_in, verdict_options
from pandaprobe_otel.cli.user_functions import load_function

if TYPE_CHECKING:
    from pandaprobe_otel.evals.report import Report

_OF_TASKS: Final = (
    ("DATASET", "dataset", None),
    ("--task", "task_name", None),
    ("--scorer", "scorers", ()),
    ("--repeat", "repeat", 1),
    ("--min-pass", "min_pass", 1.0),
    ("--judge", "judge", None),
)
"""Options that require a task: option, parameter name, default."""

_TOGETHER: Final = (("--judge-url", "judge_url", "--judge", "judge"), ("--refresh", "refresh", "--cache", "cache"))
"""Options that require another option: option and required option, with their parameter names."""


@click.command("eval")
@click.argument("dataset", type=click.Path(exists=True, dir_okay=False), required=False)
@click.option(
    "--task", "task_name", metavar="MODULE:FUNCTION", help="With DATASET: function that is called with each input."
)
@click.option("--trace", "traces", multiple=True, metavar="ID", help="Id of a stored trace to judge. May be repeated.")
@click.option(
    "--session", "sessions", multiple=True, metavar="ID", help="Id of a stored session to judge. May be repeated."
)
@metric_options
@click.option(
    "--scorer",
    "scorers",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="Your own scorer function. Not billed. May be repeated.",
)
@click.option(
    "--concurrency", type=click.IntRange(1), default=4, show_default=True, help="Number of cases to run at once."
)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Number of runs of each case.")
@click.option(
    "--min-pass",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Share of a case's runs that must pass.",
)
@click.option(
    "--confirm",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help='Maximum number of judgements, including a first "no". The majority decides.',
)
@click.option("--allow-vacuous", is_flag=True, help="Pass if there is nothing to judge.")
@click.option("--model", metavar="MODEL", help="Judge model. [default: the server's]")
@click.option("--judge", metavar="MODEL", help="With DATASET: judge with this model from here, without a server.")
@click.option(
    "--judge-url", metavar="URL", help="With --judge: URL of an OpenAI-compatible endpoint. [default: the provider's]"
)
@click.option(
    "--max-evals",
    type=click.IntRange(0),
    metavar="N",
    help="Upper limit of billed judgements. If more are needed, nothing is judged.",
)
@click.option(
    "--cache",
    type=click.Path(dir_okay=False),
    help="File that keeps the judgements of cases whose behaviour is unchanged.",
)
@click.option("--refresh", is_flag=True, help="With --cache: judge everything again and update the file.")
@click.option(
    "--pass-rate",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Share of the cases that must pass.",
)
@click.option(
    "--deliver-within",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds that may pass until all traces are sent.",
)
@click.option(
    "--wait-timeout", type=click.FloatRange(0), default=600.0, show_default=True, help="Timeout of a run in seconds."
)
@verdict_options
def evaluate_command(**options: Any) -> int:
    """Run a task over the cases of DATASET (.jsonl, .csv), or take stored traces and sessions; then judge and report.

    Metrics of sessions judge each given session. Metrics of traces judge each given trace and each trace of a given
    session. A metric without a threshold passes at 0.5.

    Exit code 1: a case failed or, with --baseline, a metric is significantly worse than in the baseline. 6: no
    evidence, since not everything was judged. In GitHub Actions, the job's summary and annotations are written too.
    """
    thresholds = {"": 0.5} | thresholds_in(options)
    for name, _ in options["metrics"]:
        thresholds.setdefault(name, thresholds[""])
    for written, name, needs, other in _TOGETHER:
        if options[name] and not options[other]:
            raise click.UsageError(f"{written} needs {needs}")
    judge = _of_stored if options["traces"] or options["sessions"] else _of_task
    return concluded(options, lambda: judge(options, thresholds))


def _of_task(options: Mapping[str, Any], thresholds: Mapping[str, float]) -> Report:
    from pandaprobe_otel.evals.experiment import evaluate
    from pandaprobe_otel.evals.local_judge import LocalJudge
    from pandaprobe_otel.evals.task_runs import scorer_name

    if options["dataset"] is None or options["task_name"] is None:
        raise click.UsageError("nothing to judge: pass DATASET with --task, --trace, or --session")
    scorers = [load_function(name) for name in options["scorers"]]
    common = dict.fromkeys((scorer_name(scorer) for scorer in scorers), thresholds[""])
    return evaluate(
        options["dataset"],
        load_function(options["task_name"]),
        metrics=[*dict(options["metrics"]), *scorers],
        thresholds=common | {name: value for name, value in thresholds.items() if name},
        concurrency=options["concurrency"],
        name=options["task_name"].rpartition(":")[2],
        judge=LocalJudge(options["judge"], url=options["judge_url"]) if options["judge"] else None,
        model=options["model"],
        confirm=options["confirm"],
        allow_vacuous=options["allow_vacuous"],
        repeat=options["repeat"],
        min_pass=options["min_pass"],
        max_evaluations=options["max_evals"],
        cache=options["cache"],
        refresh=options["refresh"],
        timeout=options["wait_timeout"],
        deliver_within=options["deliver_within"],
        pass_rate=options["pass_rate"],
    )


def _of_stored(options: Mapping[str, Any], thresholds: Mapping[str, float]) -> Report:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.evals.cache import Caches
    from pandaprobe_otel.evals.judging import Allowance
    from pandaprobe_otel.evals.progress import of_judge
    from pandaprobe_otel.evals.server_judge import ServerBench
    from pandaprobe_otel.evals.stored_traces import judge_stored

    if misplaced := [written for written, name, default in _OF_TASKS if options[name] != default]:
        raise click.UsageError(
            f"{misplaced[0]} needs DATASET and --task: --trace and --session name runs that have already ended"
        )
    if not options["metrics"]:
        raise click.UsageError("--trace and --session need a --metric")
    with Client() as client:
        file = options["cache"]
        caches = Caches(None if file is None else Path(file), refresh=options["refresh"])
        bench = ServerBench(
            client,
            allowance=Allowance(options["max_evals"]),
            timeout_s=options["wait_timeout"],
            cache=caches.of(client.credentials.endpoint),
            say=_say,
            progress=of_judge(_say, live=True),
        )
        report = judge_stored(
            client,
            bench,
            traces=options["traces"],
            sessions=options["sessions"],
            thresholds={name: thresholds[name] for name in dict(options["metrics"])},
            model=options["model"],
            answers=options["confirm"],
            allow_vacuous=options["allow_vacuous"],
            visible_within_s=options["wait_timeout"],
            pass_rate=options["pass_rate"],
        )
    return replace(report, cache=caches.uses)


def _say(line: str) -> None:
    click.echo(f"pandaprobe: {line}", err=True)
