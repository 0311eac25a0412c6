"""Traces in the terminal, as text within a token budget."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.cli.options import print_json
from pandaprobe_otel.compact.fences import Fence
from pandaprobe_otel.compact.overview import NoPart, overview, part_of
from pandaprobe_otel.compact.several_traces import compared
from pandaprobe_otel.replay.scrubbing import Scrubber

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import Trace


def show_compact(
    client: Client, trace: Trace, budget: int, output_format: str, *, part: str | None, cursor: str | None
) -> None:
    """Print a trace or a part of it, with secrets removed."""
    body = _without_secrets(trace)
    if part is None and cursor is None:
        scores = [score.model_dump(mode="json") for score in client.scores.of_trace(trace)]
        made = overview(body, budget, _fence(), scores=scores)
    else:
        try:
            made = part_of(body, part or "tree", budget, _fence(), cursor=cursor)
        except NoPart as error:
            raise click.UsageError(str(error)) from None
    _print(made, output_format)


def show_comparison(trace_a: Trace, trace_b: Trace, budget: int, output_format: str) -> None:
    """Print the differences between two traces, with secrets removed."""
    _print(compared(_without_secrets(trace_a), _without_secrets(trace_b), budget, _fence()), output_format)


def _print(made: Any, output_format: str) -> None:
    if output_format == "json":
        print_json(asdict(made))
    else:
        click.echo(made.text)


def _without_secrets(trace: Trace) -> Any:
    return Scrubber().value(trace.model_dump(mode="json"))


def _fence() -> Fence:
    return Fence(secrets.token_hex(4))
