"""`pandaprobe-otel doctor`: every setting with its source, the installed libraries, and a check of the key."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from pandaprobe_otel.cli.environment_notes import environment_notes
from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import console, format_option, print_json

if TYPE_CHECKING:
    from pandaprobe_otel.cli.inventory import Library
    from pandaprobe_otel.cli.key_check import KeyCheck
    from pandaprobe_otel.cli.round_trip import RoundTrip
    from pandaprobe_otel.config.resolve import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The findings of the command, with secrets masked."""

    versions: dict[str, str | None]
    settings: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    notes: list[str]
    libraries: list[Library]
    other_instrumentors: list[str]
    key: KeyCheck
    round_trip: RoundTrip | None = None

    @property
    def exit_code(self) -> ExitCode:
        """2 without a usable key, 4 if another setting is invalid, 5 if the endpoint does not answer, otherwise 0."""
        if any(problem["setting"] == "api_key" and problem["fatal"] for problem in self.problems):
            return ExitCode.AUTH
        if self.key.exit_code is not ExitCode.OK:
            return self.key.exit_code
        if self.round_trip is not None and not self.round_trip.arrived:
            return self.round_trip.exit_code
        return ExitCode.VALIDATION if self.problems else ExitCode.OK


@click.command("doctor")
@click.option("--offline", is_flag=True, help="Do not contact the endpoint.")
@click.option("--send", is_flag=True, help="Also send a test trace (billed), read it back, and compare the clocks.")
@format_option
def doctor(offline: bool, send: bool, output_format: str) -> int:
    """Show every setting and its source, the installed libraries, and whether the server accepts the API key.

    The check of the key creates neither a project nor a trace. `--send` may create both.
    """
    if offline and send:
        raise click.UsageError("--send and --offline exclude each other.")
    report = examine(offline=offline, send=send)
    if output_format == "json":
        print_json(asdict(report))
    else:
        _print(report)
    return report.exit_code


def examine(*, offline: bool, send: bool = False) -> Report:
    """Collect the report for the environment of this process."""
    from pandaprobe_otel.cli.inventory import libraries, other_instrumentors, versions
    from pandaprobe_otel.config.resolve import Config

    config = Config.resolve()
    key = _key(config, offline=offline)
    return Report(
        versions=versions(),
        settings=_settings(config),
        problems=[asdict(problem) for problem in config.problems],
        notes=environment_notes(os.environ),
        libraries=libraries(config),
        other_instrumentors=other_instrumentors(),
        key=key,
        round_trip=_round_trip(config) if send and key.state == "good" else None,
    )


def masked(value: str) -> str:
    """Return just enough of a secret to recognise it."""
    url = urlsplit(value)
    if url.scheme and url.hostname:
        credentials = "***@" if url.username or url.password else ""
        port = f":{url.port}" if url.port else ""
        return f"{url.scheme}://{credentials}{url.hostname}{port}{url.path}"
    if len(value) < 16:
        return f"*** ({len(value)} characters)"
    return f"{value[:6]}…{value[-4:]}"


def _settings(config: Config) -> list[dict[str, Any]]:
    from pandaprobe_otel.config.settings import SETTINGS

    rows: list[dict[str, Any]] = []
    for setting in SETTINGS:
        value = getattr(config, setting.name)
        if setting.is_secret and value:
            value = masked(str(value))
        rows.append({"name": setting.name, "value": value, "source": config.sources[setting.name], "env": setting.env})
    return rows


def _key(config: Config, *, offline: bool) -> KeyCheck:
    from pandaprobe_otel.cli.key_check import KeyCheck, KeyState, check_key_at

    if offline:
        return KeyCheck(state=KeyState.NOT_ASKED, message="--offline")
    if config.local is not None:
        return KeyCheck(
            state=KeyState.NOT_ASKED, message=f"traces are written to the file {config.local}; nothing is sent"
        )
    fatal = [problem.message for problem in config.problems if problem.fatal]
    if fatal or config.fixed_key is None:
        return KeyCheck(state=KeyState.NOT_ASKED, message="the settings are not complete")
    return check_key_at(config.endpoint, config.fixed_key)


def _round_trip(config: Config) -> RoundTrip:
    from pandaprobe_otel.cli.round_trip import round_trip

    return round_trip(config)


def _print(report: Report) -> None:
    from rich.table import Table

    out = console()
    out.print("  ".join(f"{name} {found or '-'}" for name, found in report.versions.items()))
    table = Table("setting", "value", "source", "variable", box=None, pad_edge=False, header_style="bold")
    for row in report.settings:
        table.add_row(row["name"], _shown(row["value"]), row["source"], row["env"] or "")
    out.print(table)
    out.print("\n[bold]Instrumentable[/bold]")
    for library in report.libraries:
        found = library.installed or f'not installed: pip install "pandaprobe-otel[{library.name}]"'
        what = f"  {library.state}" if library.installed else ""
        why = f": {library.reason}" if library.installed and library.reason else ""
        out.print(f"  {library.name}  {found}{what}{why}", markup=False)
    if report.other_instrumentors:
        out.print("  by other packages: " + ", ".join(report.other_instrumentors), markup=False)
    out.print(f"\n[bold]API key[/bold] {report.key.state}: ", end="")
    out.print(report.key.message, markup=False)
    if report.round_trip is not None:
        out.print("[bold]Round trip[/bold] ", end="")
        out.print(report.round_trip.message, markup=False)
        if report.round_trip.clock_ahead_s is not None:
            out.print(f"  {_clocks(report.round_trip.clock_ahead_s)}", markup=False)
    for problem in report.problems:
        out.print(f"Problem ({problem['setting']}): {problem['message']}", markup=False, style="red")
    for note in report.notes:
        out.print(f"Note: {note}", markup=False, style="yellow")


def _clocks(ahead_s: float) -> str:
    if not ahead_s:
        return "this clock and the server's agree to within about 5 s"
    return f"this clock is at least {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} the server's"


def _shown(value: object) -> str:
    return "-" if value is None or value == () else str(value)
