"""Public names that are loaded on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias

from pandaprobe_otel.process.forks import loading

Hooks: TypeAlias = tuple[Callable[[str], Any], Callable[[], list[str]]]
"""`__getattr__` and `__dir__` of a module (PEP 562)."""


def lazy_names(package: str, homes: Mapping[str, Sequence[str]]) -> Hooks:
    """Return `__getattr__` and `__dir__` of a package (PEP 562) for names that its modules define.

    `homes` maps each module's name within the package to the names that it defines. Eager imports would fail if one
    thread imports the package while another imports one of its modules: each holds the lock that the other waits for,
    and Python breaks the deadlock with an error.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> Any:
        if (home := home_of.get(name)) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = f"{package}.{home}"
        with loading(module):
            value: Any = getattr(import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return load, names
