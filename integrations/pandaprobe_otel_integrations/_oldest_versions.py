"""Detection of installed libraries that are older than the tested versions."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts


@dataclass(frozen=True, slots=True, kw_only=True)
class OlderThanTested:
    """An installed distribution whose version is below the floor."""

    found: str
    requirement: str

    def __str__(self) -> str:
        """Return a clause for a log line, with both versions."""
        return f"{self.found} is older than the oldest version tested ({self.requirement.partition('>=')[2].strip()})"


def names_of(requirements: Collection[str]) -> list[str]:
    """Return the names of the distributions: `openai` for `openai >= 1.6`."""
    return [each.partition(">=")[0].strip() for each in requirements]


def older_than_tested(requirements: Collection[str]) -> OlderThanTested | None:
    """Return the first distribution that is installed and older than its floor."""
    for requirement in requirements:
        # This suffix makes pre-releases compare like every other version, instead of being excluded.
        conflict = get_dependency_conflicts([f"{requirement}.dev0"])
        if conflict is not None and conflict.found is not None:
            return OlderThanTested(found=conflict.found, requirement=requirement)
    return None


def is_there(module: str) -> bool:
    """Return whether the module could be imported, without importing it or its parents."""
    if module in sys.modules:
        return True
    top, *below = module.split(".")
    if not _is_package_there(top):
        return False
    spec, name = find_spec(top), top
    for part in below:
        if spec is None or spec.submodule_search_locations is None:
            return False
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    return spec is not None


def lacks(module: str) -> bool:
    """Return whether the package of the module is installed, but not the module itself."""
    return _is_package_there(module.partition(".")[0]) and not is_there(module)


def _is_package_there(top: str) -> bool:
    try:
        return find_spec(top) is not None
    except ValueError:  # it is in sys.modules without a spec
        return False
