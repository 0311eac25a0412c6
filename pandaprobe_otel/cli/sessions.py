"""`pandaprobe-otel sessions`: list, read, export and delete sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pandaprobe_otel.api.sessions import SessionListQuery
from pandaprobe_otel.api.traces import Window
from pandaprobe_otel.cli.api_client import with_client
from pandaprobe_otel.cli.argument_options import options_of
from pandaprobe_otel.cli.export import export_options, export_traces
from pandaprobe_otel.cli.show import all_option, show, show_list, show_rows

if TYPE_CHECKING:
    from pandaprobe_otel.api import Client


@click.group("sessions")
def sessions() -> None:
    """List, read, export and delete sessions."""


@sessions.command("list")
@options_of(SessionListQuery)
@all_option
@with_client
def list_sessions(client: Client, given: dict[str, Any], everything: bool, output_format: str) -> None:
    """List sessions, those with the most recent traces first."""
    show_list(client.sessions.list, client.sessions.iter, given, everything, output_format)


@sessions.command("get")
@click.argument("session_id")
@with_client
def get_session(client: Client, session_id: str, output_format: str) -> None:
    """Show a session and all its traces."""
    session = client.sessions.get(session_id)
    if output_format == "json":
        show(session, output_format)
        return
    show_rows([session], columns=[name for name in type(session).model_fields if name != "traces"])
    click.echo()
    columns = ["name", "status", "started_at", "input", "output", "total_tokens", "total_cost", "trace_id"]
    show_rows(session.traces, columns=columns)


@sessions.command("export")
@click.argument("session_id")
@export_options
@with_client
def export(client: Client, session_id: str, form: str, output: str, output_format: str) -> None:
    """Write the traces of a session as JSON, OTLP/JSON, Markdown or one HTML page."""
    export_traces(client, client.sessions.get(session_id).traces, form, output, session_id)


@sessions.command("delete")
@click.argument("session_id")
@with_client
def delete(client: Client, session_id: str, output_format: str) -> None:
    """Delete all traces of a session."""
    show(client.sessions.delete(session_id), output_format)


@sessions.command("analytics")
@options_of(Window)
@with_client
def analytics(client: Client, given: dict[str, Any], output_format: str) -> None:
    """Show the number and duration of sessions over time."""
    show(client.sessions.analytics(**given), output_format)
