"""Registry, entry points, extras, folders and test files name the same integrations."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest

import pandaprobe_otel_integrations
import run_as_reader
from pandaprobe_otel.registry import INTEGRATIONS, LIBRARIES

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOLDERS = Path(pandaprobe_otel_integrations.__path__[0])


def test_every_folder_is_registered() -> None:
    """The registry has an entry for each folder of an integration, and no other entries."""
    folders = {found.name for found in FOLDERS.iterdir() if found.is_dir() and not found.name.startswith("_")}
    assert folders == set(INTEGRATIONS)
    assert set(LIBRARIES) == set(INTEGRATIONS)


def test_every_entry_point_is_registered() -> None:
    """`opentelemetry-instrument` finds the classes of the registry, under names with our own prefix."""
    named = PROJECT["entry-points"]["opentelemetry_instrumentor"]
    ours = {name: target for name, target in named.items() if name != "pandaprobe"}
    assert ours == {f"pandaprobe_{name}": target for name, target in INTEGRATIONS.items()}


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_the_extra_starts_with_what_the_instrumentor_asks_for(name: str) -> None:
    """An extra starts with the instrumentor's requirements; its others serve its page's program."""
    module, _, class_name = INTEGRATIONS[name].partition(":")
    instrumentor = getattr(import_module(module), class_name)()
    required = {re.sub(r"\s", "", one) for one in instrumentor.requirements}
    assert required == {re.sub(r"\s", "", one) for one in EXTRAS[name][: len(required)]}


def test_it_is_known_what_to_run_of_every_extra() -> None:
    """`nox -s extras` runs every extra except those that combine others or serve development."""
    assert {*run_as_reader.extras(), *run_as_reader.WITHOUT_A_PAGE} == set(EXTRAS)


def test_no_extra_is_named_instruments() -> None:
    """OpenTelemetry would apply an extra of that name to the whole distribution, and skip every integration."""
    assert not [name for name in EXTRAS if name.startswith("instruments")]


def test_installed_distribution_agrees() -> None:
    """The installed distribution has the extras and entry points of this `pyproject.toml`."""
    installed = metadata.distribution("pandaprobe-otel")
    extras = {re.sub(r"[-_.]+", "-", name) for name in installed.metadata.get_all("Provides-Extra") or []}
    assert extras == {re.sub(r"[-_.]+", "-", name) for name in EXTRAS}
    points = {point.name for point in installed.entry_points if point.group == "opentelemetry_instrumentor"}
    assert points == set(PROJECT["entry-points"]["opentelemetry_instrumentor"])
