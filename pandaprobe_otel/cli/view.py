"""`pandaprobe-otel view`: look at a file of traces, without a server or in one."""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from pathlib import Path

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.export import write
from pandaprobe_otel.cli.extras import require


@click.command("view")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", metavar="FILE", help="Where to write the page; - for standard output.")
@click.option("--serve", is_flag=True, help="All pages, with search and comparison, in a local server until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With --serve; 0: any free port.")
@click.option("--open/--no-open", "opens", default=None, help="Open it in the browser. [default: in a terminal, yes]")
def view(file: Path, output: str | None, serve: bool, port: int, opens: bool | None) -> int:
    """Show the traces of a file: one written by `init(local=FILE)`, or by `traces export`.

    Without --serve it becomes one HTML page that needs no server, so that it can be kept or sent to others.
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
            click.echo(f"line {line} left out: {why}", err=True)
        if len(problems) > 10:
            click.echo(f"and {len(problems) - 10} more", err=True)
        if serve:
            return _serve(f"{server.url}/ui", opens=opens_it)
        records, total = records_of(server, MAX_TRACES)
    if not records:
        click.echo(f"pandaprobe-otel: {file} has no traces.", err=True)
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

    click.echo(f"{url}    (Ctrl-C ends it)")
    if opens:
        webbrowser.open(url)
    try:
        Event().wait()
    except KeyboardInterrupt:
        click.echo()
    return ExitCode.OK
