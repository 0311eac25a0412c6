"""`pandaprobe-otel doctor`: every setting with its source, the installed libraries, and a check of the key."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.options import console, flag, format_option, print_json

if TYPE_CHECKING:
    from pandaprobe_otel.cli.server_checks import KeyCheck, RoundTrip
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.registry import InstrumentResult

_OURS: Final = "pandaprobe_"
_OPERATORS: Final = re.compile("[^\\w.-]")
"""End of the distribution's name in a requirement."""
# The official SDK or PandaProbe's own command line reads these variables; this library does not.
_OF_OTHERS: Final = {
    "PANDAPROBE_BATCH_SIZE": "each trace is sent on its own as soon as it is complete",
    "PANDAPROBE_FLUSH_INTERVAL": "a trace is sent as soon as it is complete",
    "PANDAPROBE_MAX_QUEUE_SIZE": "PANDAPROBE_MAX_QUEUE_BYTES bounds the queue in bytes",
}
# Switches of other vendors' instrumentations. Evaluations need the content that they remove.
_OF_ALL: Final = "Unless capture is set, it keeps inputs and outputs out of all traces too. "
_CONTENT_SWITCHES: Final = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": frozenset({"false", "no_content"}),
    "TRACELOOP_TRACE_CONTENT": frozenset({"false"}),
    "OPENINFERENCE_HIDE_INPUTS": frozenset({"true"}),
    "OPENINFERENCE_HIDE_OUTPUTS": frozenset({"true"}),
}

_LENGTH_LIMITS: Final = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The findings of the command, with secrets masked."""

    versions: dict[str, str | None]
    settings: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    notes: list[str]
    libraries: list[dict[str, Any]]
    """Each library that can be instrumented: its version if it is installed, the entry point that instruments it, whose
    name also disables it, and its state after `init()` under these settings, with the reason.
    """
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
            return ExitCode.API
        return ExitCode.VALIDATION if self.problems else ExitCode.OK


@click.command("doctor")
@flag("--offline", "Do not contact the endpoint.")
@flag("--send", "Also send a test trace (billed), and read it back.")
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
    from pandaprobe_otel.cli.server_checks import round_trip
    from pandaprobe_otel.config.resolve import Config

    config = Config.resolve()
    key = _key(config, offline=offline)
    return Report(
        versions=_versions(),
        settings=_settings(config),
        problems=[asdict(problem) for problem in config.problems],
        notes=[*_notes(os.environ)],
        libraries=_libraries(config),
        other_instrumentors=_other_instrumentors(),
        key=key,
        round_trip=round_trip(config) if send and key.state == "good" else None,
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


def _versions() -> dict[str, str | None]:
    """Return the versions that a bug report needs. None: the package is not installed."""
    names = (
        "pandaprobe-otel",
        "opentelemetry-api",
        "opentelemetry-sdk",
        "opentelemetry-instrumentation",
        "opentelemetry-distro",
    )
    return {"python": platform.python_version(), **{name: _installed_version(name) for name in names}}


def _libraries(config: Config) -> list[dict[str, Any]]:
    """Return the libraries that this package has an integration for, by name, with their state after `init()`.

    The libraries are instrumented and then restored. None of them is imported for this.
    """
    from pandaprobe_otel.config.integrations import TABLE

    results = _results(config)
    found: list[dict[str, Any]] = []
    for name, row in sorted(TABLE.items()):
        installed = _installed_version(_OPERATORS.split(row.requirement)[0])
        why = "not installed" if installed is None else "not selected (setting `instrument`)"
        result = results.get(name)
        state, reason = (result.state, result.reason) if result else ("skipped", why)
        about = {"name": name, "installed": installed, "instrumentor": f"{_OURS}{name}"}
        found.append(about | {"state": state, "reason": reason})
    return found


def _results(config: Config) -> dict[str, InstrumentResult]:
    from pandaprobe_otel.registry import instrument_all, instrumented, uninstrument

    before = {result.name for result in instrumented()}
    try:
        return {result.name: result for result in instrument_all(config.instrument, config.exclude)}
    finally:
        for result in instrumented():
            if result.name not in before:
                uninstrument(result.name)


def _other_instrumentors() -> list[str]:
    """Return the names of other packages' installed instrumentors, whose spans are processed too."""
    groups = ("opentelemetry_instrumentor", "openinference_instrumentor")
    names = {point.name for group in groups for point in entry_points(group=group)}
    return sorted(name for name in names if name != "pandaprobe" and not name.startswith(_OURS))


def _installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _notes(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield one sentence for each variable that is not read, or that removes or truncates content."""
    from pandaprobe_otel.config.resolve import READ_ELSEWHERE, Config
    from pandaprobe_otel.config.settings import SETTINGS

    known = {setting.env for setting in SETTINGS if setting.env} | READ_ELSEWHERE
    known |= {problem.setting for problem in Config.resolve(environ=environ).problems}  # misspelt
    for name in sorted(environ):
        value = environ[name].strip()
        if name in _OF_OTHERS:
            yield f"{name} is not read by this library: {_OF_OTHERS[name]}."
        elif name.startswith("PANDAPROBE_") and name not in known and not name.startswith("PANDAPROBE_PYTEST"):
            yield f"{name} is not a setting."
        elif value.lower() in _CONTENT_SWITCHES.get(name, ()):
            yield (
                f"{name}={value} keeps messages out of the spans of libraries that obey it. "
                f"{_OF_ALL}Evaluations then have no content to judge."
            )
        elif name in _LENGTH_LIMITS and value:
            yield f"{name}={value} makes OpenTelemetry truncate inputs and outputs to this many characters."


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
    from pandaprobe_otel.cli.server_checks import KeyCheck, check_key

    fatal = [problem.message for problem in config.problems if problem.fatal]
    if offline:
        why = "--offline"
    elif config.local is not None:
        why = f"traces are written to the file {config.local}; nothing is sent"
    elif fatal or config.fixed_key is None:
        why = "the settings are not complete"
    else:
        return check_key(config.endpoint, config.fixed_key)
    return KeyCheck(state="not asked", message=why)


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
        name, installed, state, reason = (library[key] for key in ("name", "installed", "state", "reason"))
        found = f"{installed}  {state}{f': {reason}' if reason else ''}"
        advice = f'not installed: pip install "pandaprobe-otel[{name}]"'
        out.print(f"  {name}  {found if installed else advice}", markup=False)
    if report.other_instrumentors:
        out.print("  by other packages: " + ", ".join(report.other_instrumentors), markup=False)
    out.print(f"\n[bold]API key[/bold] {report.key.state}: ", end="")
    out.print(report.key.message, markup=False)
    if report.round_trip is not None:
        out.print("[bold]Round trip[/bold] ", end="")
        out.print(report.round_trip.message, markup=False)
    for problem in report.problems:
        out.print(f"Problem ({problem['setting']}): {problem['message']}", markup=False, style="red")
    for note in report.notes:
        out.print(f"Note: {note}", markup=False, style="yellow")


def _shown(value: object) -> str:
    return "-" if value is None or value == () else str(value)
