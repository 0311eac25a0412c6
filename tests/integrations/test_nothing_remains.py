"""After `uninstrument`, the classes and modules of each client library are unchanged."""

from __future__ import annotations

import importlib
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

import pytest

from conformance.adapter import adapters
from pandaprobe_otel.registry import INTEGRATIONS, instrument, uninstrument

LIBRARIES = sorted({adapter.integration for adapter in adapters()})


def _hooked_modules(name: str) -> list[ModuleType]:
    found: list[ModuleType] = []
    path, _, kind = INTEGRATIONS[name].partition(":")
    for module in getattr(importlib.import_module(path), kind).hooked_modules:
        with suppress(ImportError):  # old and new versions have different ones
            found.append(importlib.import_module(module))
    return found


def _classes(module: ModuleType) -> list[type[Any]]:
    package = module.__name__.partition(".")[0]
    named = [one for one in vars(module).values() if isinstance(one, type)]
    return [one for one in named if one.__module__.partition(".")[0] == package]


def _closure(function: Any) -> tuple[Any, ...]:
    cells = getattr(function, "__closure__", None) or ()
    inner = getattr(function, "__wrapped__", None)
    return (*(id(cell.cell_contents) for cell in cells if _is_full(cell)), *(_closure(inner) if inner else ()))


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _state(modules: list[ModuleType]) -> dict[str, Any]:
    """Return the members of each module and class by identity, and for functions also what they wrap."""
    owners: list[Any] = [*modules, *(kind for module in modules for kind in _classes(module))]
    return {
        f"{owner.__name__}.{name}": (id(value), _closure(value) if isinstance(value, FunctionType) else ())
        for owner in owners
        for name, value in vars(owner).items()
        if not name.startswith("__") and not name.startswith("_abc_")
    }


@pytest.mark.parametrize("library", LIBRARIES)
def test_everything_is_as_it_was(library: str) -> None:
    """Instrumenting changes the library once; uninstrumenting restores the same objects, twice in a row."""
    modules = _hooked_modules(library)
    assert modules
    before = _state(modules)
    for _ in range(2):
        instrument(library)
        hooked = _state(modules)
        assert hooked != before
        instrument(library)
        assert _state(modules) == hooked
        uninstrument(library)
        uninstrument(library)
        assert _state(modules) == before


def test_off_all_at_once() -> None:
    """Several libraries together are restored too, if uninstrumented in the order of instrumenting."""
    together = [library for library in LIBRARIES if library != "litellm"]  # which is tested in the outer ring
    modules = [module for library in together for module in _hooked_modules(library)]
    before = _state(modules)
    for library in together:
        instrument(library)
    for library in together:
        uninstrument(library)
    assert _state(modules) == before
