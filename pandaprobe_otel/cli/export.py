"""Export of whole traces as JSON, OTLP, Markdown or HTML."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.cli.extras import require
from pandaprobe_otel.cli.plurals import counted

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client
    from pandaprobe_otel.api.models import Trace


def export_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the parameters `form` (json, otlp, md or html) and `output` (a file, or `-`)."""

    @functools.wraps(command)
    def chosen(*args: Any, as_json: bool, as_otlp: bool, as_md: bool, as_html: bool, **options: Any) -> Any:
        flags = (("json", as_json), ("otlp", as_otlp), ("md", as_md), ("html", as_html))
        forms = [name for name, wanted in flags if wanted]
        if len(forms) > 1:
            raise click.UsageError(f"--{forms[0]} and --{forms[1]} exclude each other")
        return command(*args, form=forms[0] if forms else "json", **options)

    chosen = click.option(
        "-o", "--output", default="-", metavar="FILE", help="File to write. [default: standard output]"
    )(chosen)
    chosen = click.option("--md", "as_md", is_flag=True, help="Markdown, for people.")(chosen)
    chosen = click.option("--html", "as_html", is_flag=True, help="One self-contained HTML page.")(chosen)
    chosen = click.option("--otlp", "as_otlp", is_flag=True, help="OTLP/JSON, for programs that read OpenTelemetry.")(
        chosen
    )
    return click.option("--json", "as_json", is_flag=True, help="List of traces in the form of the API (default).")(
        chosen
    )


def export_traces(client: Client, traces: Iterable[Trace], form: str, output: str, title: str = "") -> None:
    """Write traces. A file is replaced only at the end, so that a failure leaves the old one.

    An HTML page also has the scores of each trace. Its title is the name of the first trace unless another is given.
    """
    found = [trace.model_dump(mode="json") for trace in traces]
    if form == "html":
        text = _page(client, found, title)
    elif form == "json":
        text = json.dumps(found, indent=2, ensure_ascii=False)
    elif form == "otlp":
        from pandaprobe_otel.cli.otlp_json import otlp_json

        text = json.dumps(otlp_json(found), indent=2, ensure_ascii=False)
    else:
        from pandaprobe_otel.traces.markdown import markdown
        from pandaprobe_otel.traces.records import TraceRecord

        text = "\n".join(markdown(TraceRecord(trace)) for trace in found)
    write(text, output, len(found))


def _page(client: Client, traces: Sequence[dict[str, Any]], title: str) -> str:
    require("local", "jinja2", "fastapi")
    from pandaprobe_otel.local.pages.document import ScoredTrace, html_document

    traces = sorted(traces, key=lambda trace: str(trace["started_at"]))
    records = [
        ScoredTrace(
            trace=trace,
            scores=[score.model_dump(mode="json") for score in client.scores.of_trace(str(trace["trace_id"]))],
        )
        for trace in traces
    ]
    return html_document(records, title or (str(traces[0]["name"]) if traces else "no traces"))


def write(text: str, output: str, count: int) -> None:
    """Write to a file and report it, or write to standard output (`-`)."""
    if output == "-":
        with click.open_file("-", "w", encoding="utf-8") as standard_output:
            standard_output.write(text + "\n")
        return
    try:
        Path(output).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{output} cannot be written: {error.strerror}.", param_hint="--output") from None
    click.echo(f"{counted(count, 'trace')} in {output}", err=True)
