"""Whole traces in a form that others read."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pandaprobe_otel.api.models import Trace


def export_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `form` (json, otlp or md) and `output` (a file, or `-`)."""

    @functools.wraps(command)
    def chosen(*args: Any, as_json: bool, as_otlp: bool, as_md: bool, **options: Any) -> Any:
        forms = [name for name, wanted in (("json", as_json), ("otlp", as_otlp), ("md", as_md)) if wanted]
        if len(forms) > 1:
            raise click.UsageError(f"--{forms[0]} and --{forms[1]} exclude each other")
        return command(*args, form=forms[0] if forms else "json", **options)

    chosen = click.option("-o", "--output", default="-", metavar="FILE", help="Instead of standard output.")(chosen)
    chosen = click.option("--md", "as_md", is_flag=True, help="Markdown, to read or to show others.")(chosen)
    chosen = click.option("--otlp", "as_otlp", is_flag=True, help="OTLP/JSON, for anything that reads OpenTelemetry.")(
        chosen
    )
    return click.option("--json", "as_json", is_flag=True, help="A list of traces as the API has them (default).")(
        chosen
    )


def _write(text: str, output: str) -> None:
    if output == "-":
        with click.open_file("-", "w", encoding="utf-8") as standard_output:
            standard_output.write(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{output} cannot be written: {error.strerror}.", param_hint="--output") from None


def export_traces(traces: Iterable[Trace], form: str, output: str) -> None:
    """Write traces; a file is written in the end only, so that a failure leaves the old one."""
    found = [trace.model_dump(mode="json") for trace in traces]
    if form == "json":
        text = json.dumps(found, indent=2, ensure_ascii=False)
    elif form == "otlp":
        from pandaprobe_otel.cli.otlp_json import otlp_json

        text = json.dumps(otlp_json(found), indent=2, ensure_ascii=False)
    else:
        from pandaprobe_otel.cli.markdown import markdown

        text = "\n".join(markdown(trace) for trace in found)
    _write(text + "\n", output)
    if output != "-":
        click.echo(f"{len(found)} traces in {output}", err=True)
