"""constraints.txt, which spares pip the search for compatible versions."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALLED_FOR_WORK: Final = ("dev", "docs", "lint", "outer")


def _named() -> dict[str, list[str]]:
    """Return the pinned versions of each distribution: several if the pin depends on the Python version."""
    named: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            assert not requirement.extras, "pip refuses constraints with extras"
            (version,) = requirement.specifier
            assert version.operator == "=="
            named.setdefault(canonicalize_name(requirement.name), []).append(version.version)
    return named


def _requirements(extras: tuple[str, ...]) -> Iterator[Requirement]:
    """Yield the requirements of the library and of these extras, including nested extras."""
    texts = [*PROJECT["dependencies"], *(each for extra in extras for each in PROJECT["optional-dependencies"][extra])]
    for requirement in map(Requirement, texts):
        if canonicalize_name(requirement.name) == PROJECT["name"]:
            yield from _requirements(tuple(requirement.extras))
        else:
            yield requirement


@pytest.mark.parametrize("extra", INSTALLED_FOR_WORK)
def test_every_requirement_has_a_version_that_it_allows(extra: str) -> None:
    """Each requirement has a pinned version that satisfies it, so that pip need not search."""
    named = _named()
    missing = [
        str(requirement)
        for requirement in _requirements((extra,))
        if not named.get(canonicalize_name(requirement.name))
        or not all(
            requirement.specifier.contains(each, prereleases=True)
            for each in named[canonicalize_name(requirement.name)]
        )
    ]
    assert missing == [], "run `nox -s constraints`"
