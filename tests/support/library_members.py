"""A check for members of the installed version of a library, since tests run with the oldest and the newest version."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import pytest


def skip_without(owner: Any, *paths: str) -> None:
    """Skip the test if a client, or a module, lacks any of these (dotted) members."""
    library = (owner.__name__ if isinstance(owner, ModuleType) else type(owner).__module__).partition(".")[0]
    for path in paths:
        found = owner
        for name in path.split("."):
            found = getattr(found, name, None)
        if found is None:
            pytest.skip(f"{_version(library)} has no {path}")


def _version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:  # a namespace package
        return library
