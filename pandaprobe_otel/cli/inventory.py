"""Installed packages: this library, OpenTelemetry and the libraries that can be instrumented."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, requires, version
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.registry import InstrumentResult

_OURS: Final = "pandaprobe_"
_EXTRA: Final = re.compile(r"(?P<distribution>[\w.-]+).*;.*\bextra == ['\"](?P<extra>[\w-]+)['\"]")
"""Pattern of a requirement in the metadata: `google-adk>=2.13; extra == 'google-adk'`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library that can be instrumented, and its installed version. None: it is not installed."""

    name: str
    installed: str | None
    instrumentor: str
    """Entry point that instruments the library. Its name is also the name that disables it."""
    state: str
    """State after `init()` under these settings: hooked, adopted, skipped or failed."""
    reason: str
    """Reason for the state; may be empty for `hooked`."""


def versions() -> dict[str, str | None]:
    """Return the versions that a bug report needs. None: the package is not installed."""
    names = (
        "pandaprobe-otel",
        "opentelemetry-api",
        "opentelemetry-sdk",
        "opentelemetry-instrumentation",
        "opentelemetry-distro",
    )
    return {"python": platform.python_version(), **{name: installed_version(name) for name in names}}


def libraries(config: Config) -> list[Library]:
    """Return the libraries that this package has an integration for, by name, with their state after `init()`.

    The libraries are instrumented and then restored. None of them is imported for this.
    """
    from pandaprobe_otel.registry import INTEGRATIONS

    distributions = _distributions()
    results = _results(config)
    found: list[Library] = []
    for name in sorted(INTEGRATIONS):
        installed = installed_version(distributions[name]) if name in distributions else None
        result = results.get(name)
        state, reason = (result.state, result.reason) if result else ("skipped", _why_not(installed))
        instrumentor = f"{_OURS}{name}"
        found.append(Library(name=name, installed=installed, instrumentor=instrumentor, state=state, reason=reason))
    return found


def _distributions() -> dict[str, str]:
    """Return the distribution of each integration.

    The extras name the distribution: the one with the extra's own name, else the first. The name of a module is not
    enough, since several distributions share modules such as `google`.
    """
    try:
        required = requires("pandaprobe-otel") or ()
    except PackageNotFoundError:
        return {}
    found: dict[str, str] = {}
    for line in required:
        if match := _EXTRA.match(line):
            extra, distribution = match["extra"], match["distribution"]
            name = extra.replace("-", "_")
            found[name] = distribution if distribution == extra else found.get(name, distribution)
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


def _why_not(installed: str | None) -> str:
    return "not installed" if installed is None else "not selected (setting `instrument`)"


def other_instrumentors() -> list[str]:
    """Return the names of other packages' installed instrumentors, whose spans are processed too."""
    return sorted(
        {point.name for point in _instrumentors() if point.name != "pandaprobe" and not point.name.startswith(_OURS)}
    )


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _instrumentors() -> Iterable[EntryPoint]:
    yield from entry_points(group="opentelemetry_instrumentor")
    yield from entry_points(group="openinference_instrumentor")
