"""Conditions of a release: pinned actions, consistent versions, and justified dependencies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import check_distributions
import dependencies

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CHANGELOG = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-01-31\n\n- A thing.\n\n## 1.2.2 - 2026-01-01\n"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(workflow: Path) -> None:
    """Each action is pinned to a commit, which an attacker cannot move, and a comment names its version."""
    used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []


@pytest.mark.parametrize(
    ("tag", "version", "fault"),
    [
        ("v1.2.3", "1.2.3", None),
        ("v1.2.4", "1.2.3", "the tag is v1.2.4"),
        ("v1.2.2", "1.2.2", "is empty"),
        ("v1.3.0", "1.3.0", "has no section"),
    ],
)
def test_a_tag_is_released_only_when_all_agree(tag: str, version: str, fault: str | None) -> None:
    """The tag, the version and a section of the changelog name the same release, and the section is not empty."""
    faults = list(check_distributions.tag_faults(tag, version, CHANGELOG))
    assert len(faults) == (fault is not None)
    assert all(str(fault) in each for each in faults)


def test_every_dependency_is_justified_and_on_the_page() -> None:
    """Each dependency has a reason and a floor, and each installed one has a row in `docs/dependencies.md`."""
    declared = list(dependencies.declared(PROJECT))
    assert [each.name for each in declared if not each.reason or ">=" not in each.versions] == []
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    installed = [each for each in declared if dependencies.licence(each.name)]
    assert [each for each in installed if f"| {each.extra} | `{each.name}` | `{each.versions}` |" not in page] == []


def test_the_core_stays_small() -> None:
    """The library without extras installs at most 20 packages."""
    assert len(dependencies.core()) <= 20
