"""What is installed: this library, OpenTelemetry, and the libraries that can be instrumented."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version
from typing import Final

_OURS: Final = "pandaprobe_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library that can be instrumented: its installed version, None when it is absent."""

    name: str
    installed: str | None
    instrumentor: str
    """The entry point that instruments it: the name to switch it off by."""


def versions() -> dict[str, str | None]:
    """Versions of what every report of a fault needs; None for what is not installed."""
    names = (
        "pandaprobe-otel",
        "opentelemetry-api",
        "opentelemetry-sdk",
        "opentelemetry-instrumentation",
        "opentelemetry-distro",
    )
    return {"python": platform.python_version(), **{name: installed_version(name) for name in names}}


def libraries() -> list[Library]:
    """The libraries that this package has an integration for, by name."""
    from pandaprobe_otel.registry import INTEGRATIONS, LIBRARIES

    distributions = packages_distributions()
    found: list[Library] = []
    for name in sorted(INTEGRATIONS):
        brought_by = distributions.get(LIBRARIES[name].partition(".")[0], ())
        installed = installed_version(brought_by[0]) if brought_by else None
        found.append(Library(name=name, installed=installed, instrumentor=f"{_OURS}{name}"))
    return found


def other_instrumentors() -> list[str]:
    """Names of the instrumentors that others have installed, whose spans are read as well."""
    return sorted(
        {point.name for point in _instrumentors() if point.name != "pandaprobe" and not point.name.startswith(_OURS)}
    )


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution, None if there is none of that name."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _instrumentors() -> Iterable[EntryPoint]:
    yield from entry_points(group="opentelemetry_instrumentor")
    yield from entry_points(group="openinference_instrumentor")
