"""The environments of the tests with agent frameworks."""

from __future__ import annotations

import re
import runpy
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ROOT / "tests" / "frameworks"


def environments() -> dict[str, dict[str, Any]]:
    """Return the table of each environment by name."""
    return {path.stem: tomllib.loads(path.read_text("utf-8")) for path in FRAMEWORKS.glob("environments/*.toml")}


def test_every_test_has_an_environment() -> None:
    """Each test file runs once, each environment has tests, and `when` is `ci` or `nightly`."""
    known = environments()
    tests = {name: sorted(FRAMEWORKS.glob(f"test_{name}*.py")) for name in known}
    assert sorted(test for found in tests.values() for test in found) == sorted(FRAMEWORKS.glob("test_*.py"))
    assert [name for name, each in known.items() if not tests[name] or each["when"] not in ("ci", "nightly")] == []


@pytest.mark.outer
@pytest.mark.filterwarnings("ignore::FutureWarning")  # nox: two tests in one process read the file
def test_the_oldest_environment_is_what_is_claimed() -> None:
    """The first requirement is the framework at its extra's floor; the oldest environment pins it, with a past date."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    frameworks_of = runpy.run_path(str(ROOT / "noxfile.py"))["frameworks_of"]
    for name, each in environments().items():
        first = each["requirements"][0]
        assert re.sub(r"\[.*\]", "", first) == extras[name.removeprefix("beside_")][0], name
        oldest = frameworks_of(name, each["oldest"], at_floor=True)
        assert first.replace(">=", "==") in oldest
        assert oldest[oldest.index("--exclude-newer") + 1] == each["oldest"]
        assert date.fromisoformat(each["oldest"]) <= date.today()


def test_the_page_of_versions_names_each_floor() -> None:
    """The table has one row for each framework, with the environment's version and date."""
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\S+) (\S+) \| (\d{4}-\d\d-\d\d) \|", page, re.MULTILINE)
    known = [each for name, each in environments().items() if not name.startswith("beside_")]
    floors = [(*re.sub(r"\[.*\]", "", each["requirements"][0]).split(">="), each["oldest"]) for each in known]
    assert sorted(listed) == sorted(floors)
