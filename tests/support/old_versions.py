"""Checks for features that the oldest versions of a framework lack."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from packaging.version import Version


def has(distribution: str, since: str) -> bool:
    """Return whether the installed version is at least this one."""
    return Version(version(distribution)) >= Version(since)


def needs(distribution: str, since: str, feature: str) -> pytest.MarkDecorator:
    """Skip the test if the installed framework, or another vendor's library, is too old for a feature."""
    return pytest.mark.skipif(
        not has(distribution, since), reason=f"{distribution} {version(distribution)} has no {feature} ({since} has)"
    )
