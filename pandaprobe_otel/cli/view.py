"""`pandaprobe-otel view`: show a file of traces, as a page or in a local server."""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from pathlib import Path

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.extras import require
from pandaprobe_otel.cli.options import FILE, PORT, flag, option
from pandaprobe_otel.cli.traces import write


@click.command("view")
@click.argument("file", type=FILE)
@option("-o --output", "File of the page. -: standard output.", metavar="FILE")
@flag("--serve", "Serve all pages, with search and comparison, until Ctrl-C.")
@option("--port", "With --serve: port to listen on. 0: any free port.", PORT, 0)
@option("--open/--no-open opens", "Open the page in the browser. [default: only in a terminal]", bool, None)
def view(file: Path, output: str | None, serve: bool, port: int, opens: bool | None) -> int:
    """Show the traces of a file that `init(local=FILE)` or `traces export` wrote.

    Without --serve, the result is one self-contained HTML page, to keep or to send.
    """
    require("local", "fastapi", "uvicorn", "jinja2")
    from pandaprobe_otel.local import LocalServer
    from pandaprobe_otel.local.from_file import load, records_of
    from pandaprobe_otel.local.pages.document import MAX_TRACES, html_document
    from pandaprobe_otel.transport.trace_file import read_entries

    opens_it = sys.stdout.isatty() if opens is None else opens
    with LocalServer(port=port, limit=None) as server:
        problems = load(server, read_entries(file))
        for line, why in problems[:10]:
            click.echo(f"line {line} skipped: {why}", err=True)
        if len(problems) > 10:
            click.echo(f"and {len(problems) - 10} more", err=True)
        if serve:
            return _serve(f"{server.url}/ui", opens=opens_it)
        records, total = records_of(server, MAX_TRACES)
    if not records:
        click.echo(f"pandaprobe-otel: {file} contains no traces.", err=True)
        return ExitCode.GENERAL
    page = html_document(records, file.name, total=total)
    if output is None:
        output = str(Path(tempfile.mkdtemp(prefix="pandaprobe-")) / f"{file.stem}.html")
    write(page, output, len(records))
    if opens_it and output != "-":
        webbrowser.open(Path(output).resolve().as_uri())
    return ExitCode.OK


def _serve(url: str, *, opens: bool) -> int:
    from threading import Event

    click.echo(f"{url}    (stop with Ctrl-C)")
    if opens:
        webbrowser.open(url)
    try:
        Event().wait()
    except KeyboardInterrupt:
        click.echo()
    return ExitCode.OK
