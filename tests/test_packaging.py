"""The package: its integrations, extras, requirements and release, which several files name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import check_distributions
import pandaprobe_otel_integrations
import run_as_reader
from pandaprobe_otel.config.integrations import TABLE
from requirements import ENTRY_POINTS, EXTRAS, PROJECT, TEXT

ROOT = Path(__file__).parent.parent
PACKAGE = Path(pandaprobe_otel_integrations.__path__[0])


def test_every_integration_is_registered() -> None:
    """The registry has an entry for the folder or module of each integration, and no other entries."""
    found = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert {name for name in found if not name.startswith("_")} == set(TABLE)


def test_it_is_known_what_to_run_of_every_extra() -> None:
    """`nox -s extras` runs every extra except those that combine others or serve development."""
    programs = {path.stem for path in (ROOT / "docs" / "snippets").glob("*.py")} | run_as_reader.OTHER_EXTRAS.keys()
    assert programs | {"all", "dev", "docs", "lint", "outer"} == set(EXTRAS)


def test_no_extra_is_named_instruments() -> None:
    """OpenTelemetry would apply an extra of that name to the whole distribution, and skip every integration."""
    assert not [name for name in EXTRAS if name.startswith("instruments")]


def test_installed_distribution_agrees() -> None:
    """The installed distribution has the extras and entry points of this checkout."""
    installed = metadata.distribution("pandaprobe-otel")
    extras = {re.sub(r"[-_.]+", "-", name) for name in installed.metadata.get_all("Provides-Extra") or []}
    assert extras == {re.sub(r"[-_.]+", "-", name) for name in EXTRAS}
    points = {
        (point.group, point.name): point.value for point in installed.entry_points if point.group != "console_scripts"
    }
    assert points == {(group, name): to for group, named in ENTRY_POINTS.items() for name, to in named.items()}


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


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


def test_every_dependency_is_justified() -> None:
    """Each dependency has a floor, and a reason beside it unless its extra instruments it."""
    of_integrations = {name for extra in TABLE for name in EXTRAS[extra]}
    users = EXTRAS.keys() - {"dev", "docs", "lint", "outer"}
    declared = {*PROJECT["dependencies"], *(one for extra in users for one in EXTRAS[extra])}
    ours = {one for one in declared if Requirement(one).name != PROJECT["name"]}
    assert [one for one in ours if ">=" not in one] == []
    unexplained = [one for one in ours - of_integrations if not re.search(rf'{re.escape(one)}",?[ \]]*# ', TEXT)]
    assert unexplained == []


def test_the_core_stays_small() -> None:
    """The library without extras installs at most 20 packages."""
    found: set[str] = set()
    waiting = ["pandaprobe-otel"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found and list(metadata.distributions(name=name)):
            found.add(name)
            waiting += [Requirement(each).name for each in metadata.requires(name) or [] if "extra ==" not in each]
    assert len(found - {"pandaprobe-otel"}) <= 20


def _requirements(*extras: str) -> Iterator[Requirement]:
    """Yield the requirements of the library and of these extras, including nested extras."""
    for requirement in map(
        Requirement, [*PROJECT["dependencies"], *(each for extra in extras for each in EXTRAS[extra])]
    ):
        if canonicalize_name(requirement.name) == PROJECT["name"]:
            yield from _requirements(*requirement.extras)
        else:
            yield requirement


def test_every_requirement_has_a_version_that_it_allows() -> None:
    """constraints.txt has a version of each requirement, which satisfies it, so that pip need not search."""
    named: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            pinned = Requirement(line)
            assert not pinned.extras, "pip refuses constraints with extras"
            (version,) = pinned.specifier
            assert version.operator == "=="
            named.setdefault(canonicalize_name(pinned.name), []).append(version.version)  # several: one for each Python
    missing = {
        str(requirement)
        for requirement in _requirements("dev", "docs", "lint", "outer")
        for versions in [named.get(canonicalize_name(requirement.name))]
        if not versions or not all(requirement.specifier.contains(each, prereleases=True) for each in versions)
    }
    assert missing == set(), "run `nox -s constraints`"


FRAMEWORKS = ROOT / "tests" / "frameworks"


def test_every_test_of_a_framework_has_an_environment() -> None:
    """Each test file runs once; each environment has tests, and a row with its floor in the documentation."""
    page = (ROOT / "docs" / "versions.md").read_text("utf-8")
    listed = set(re.findall(r"^\| (\S+) (\S+) \| (\d{4}-\d\d-\d\d) \|", page, re.MULTILINE))
    found: list[Path] = []
    for path in FRAMEWORKS.glob("environments/*.toml"):
        name, table = path.stem, tomllib.loads(path.read_text("utf-8"))
        tests = [*FRAMEWORKS.glob(f"test_{name}*.py")]
        assert tests, name
        assert table["when"] in ("ci", "nightly")
        assert date.fromisoformat(table["oldest"]) <= date.today()
        if not name.startswith("beside_"):
            listed.remove((*TABLE[name].requirement.split(">="), table["oldest"]))
        found += tests
    assert sorted(found) == sorted(FRAMEWORKS.glob("test_*.py"))
    assert not listed


def test_the_two_commands_stand_in_the_readme() -> None:
    """README.md has the command that starts the demonstration and the one that runs the tests."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert 'python3 -m venv .venv && . .venv/bin/activate && pip install -e ".[demo]" && pandaprobe-otel demo\n' in text
    assert 'pip install -c constraints.txt -e ".[dev]" && pytest\n' in text
