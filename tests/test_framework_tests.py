"""The environments of the tests with agent frameworks."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ROOT / "tests" / "frameworks"


def test_every_test_has_an_environment() -> None:
    """Each test file runs once; each environment has tests, its extra's floor, and a row in the documentation."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "versions.md").read_text("utf-8")
    listed = set(re.findall(r"^\| (\S+) (\S+) \| (\d{4}-\d\d-\d\d) \|", page, re.MULTILINE))
    found: list[Path] = []
    for path in FRAMEWORKS.glob("environments/*.toml"):
        name, table = path.stem, tomllib.loads(path.read_text("utf-8"))
        tests = [*FRAMEWORKS.glob(f"test_{name}*.py")]
        assert tests, name
        assert table["when"] in ("ci", "nightly")
        assert date.fromisoformat(table["oldest"]) <= date.today()
        floor = re.sub(r"\[.*\]", "", table["requirements"][0])
        assert floor == extras[name.removeprefix("beside_")][0], name
        if not name.startswith("beside_"):
            listed.remove((*floor.split(">="), table["oldest"]))
        found += tests
    assert sorted(found) == sorted(FRAMEWORKS.glob("test_*.py"))
    assert not listed
