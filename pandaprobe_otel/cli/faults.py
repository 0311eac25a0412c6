"""`pandaprobe-otel replay faults`: run a recorded program with one fault after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import COUNT, FILE, flag, format_option, option, print_json
from pandaprobe_otel.cli.value_types import FUNCTION, JSON, NAMES, load_function


@click.command("faults")
@click.argument("cassette", type=FILE)
@option("--entry", "Function that runs the program.", metavar="MODULE:FUNCTION", required=True)
@option(
    "--arguments",
    "Its arguments: an object (by name), an array (in order), or one value.",
    JSON,
)
@option(
    "--check",
    "Function of the program's result, which raises or returns False if the program has not recovered.",
    FUNCTION,
)
@option(
    "--kinds",
    "Kinds of faults: timeout, http, truncated, empty, error. [default: all]",
    NAMES,
    "",
    show_default=False,
)
@option("--times", "Attempts that meet each fault. Clients retry, so one is often not noticed.", COUNT, 1)
@option(
    "--model",
    "Scripted model that answers unknown requests after a fault. [default: the nearest recorded answer]",
    FUNCTION,
)
@flag("--live", "Send unknown requests after a fault. The provider bills them.")
@option(
    "--live-tools",
    "Names of tools that may run, separated by commas.",
    NAMES,
    "",
    show_default=False,
)
@format_option
def faults(cassette: Path, output_format: str, **options: Any) -> int:
    """Run a recorded program with each fault at each place, and print which ones it survives.

    The program runs once for each fault. Its calls are played back from CASSETTE, except one: a model call times out,
    is answered with 429 or 500, breaks off or is empty; a tool times out, raises an exception or finds nothing. The
    program first runs without a fault, as a check.

    Exit code 0: it survives all faults. 1: it fails after a fault. 6: it did not fail, but after a fault it made calls
    that were not recorded.
    """
    from pandaprobe_otel.replay.trials import KINDS, Program, Trial, trials_of, trials_text

    if unknown := set(options["kinds"]) - set(KINDS):
        raise click.UsageError(f"--kinds: {', '.join(sorted(unknown))} must be among {', '.join(KINDS)}")
    if options["live"] and options["model"] is not None:
        raise click.UsageError("pass either --live or --model")
    program = Program(
        cassette=cassette,
        entry=load_function(options["entry"]),
        arguments=options["arguments"],
        check=options["check"],
        live_tools=options["live_tools"],
        model=options["model"],
        diverge="live" if options["live"] else "accept",
    )
    trials: Sequence[Trial] = [*trials_of(program, kinds=options["kinds"] or KINDS, times=options["times"])]
    if output_format == "json":
        print_json([{"fault": str(one.fault), "outcome": one.outcome, "reason": one.reason} for one in trials])
    else:
        click.echo(trials_text(trials))
    outcomes = {one.outcome for one in trials}
    if "failed" in outcomes:
        return ExitCode.GENERAL
    return ExitCode.NO_EVIDENCE if "undecided" in outcomes else ExitCode.OK
