"""Installed libraries: the oldest versions lack some features, and some keep clients that tests have left open."""

from __future__ import annotations

import gc
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import pytest
from packaging.version import Version


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


def has(distribution: str, since: str) -> bool:
    """Return whether the installed version is at least this one."""
    return Version(version(distribution)) >= Version(since)


def needs(distribution: str, since: str, feature: str) -> pytest.MarkDecorator:
    """Skip the test if the installed framework, or another vendor's library, is too old for a feature."""
    return pytest.mark.skipif(
        not has(distribution, since), reason=f"{distribution} {version(distribution)} has no {feature} ({since} has)"
    )


def drop_clients() -> None:
    """Drop the clients that litellm keeps for ten minutes, and collect what tests have left.

    Neither closes its connections, and the garbage collector reports each in the test in which it happens to find it.
    """
    kept = getattr(sys.modules.get("litellm"), "in_memory_llm_clients_cache", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        if kept is not None:
            kept.flush_cache()
        gc.collect()
