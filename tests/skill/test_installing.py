"""Files of the skill: written, renewed, kept if edited, and removed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pandaprobe_otel.skill import installing
from pandaprobe_otel.skill.installing import Outcome, install, remove, skill_text

SHARED = Path(".agents/skills/pandaprobe-otel/SKILL.md")


def _all(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_head_of_the_skill() -> None:
    """The skill's head has the name, a description within the standard's length, the version and the hash."""
    head = yaml.safe_load(skill_text().split("---\n")[1])

    assert head["name"] == "pandaprobe-otel"
    assert 0 < len(head["description"]) <= 1024
    assert set(head["metadata"]) == {"version", "hash"}


def test_installed_and_removed(tmp_path: Path) -> None:
    """The skill is written for all agents, for those with a folder and for named ones, and is removed completely."""
    (tmp_path / ".claude").mkdir()
    before = _all(tmp_path)
    found = install(tmp_path, ["cursor"])

    assert [one.outcome for one in found] == [Outcome.WRITTEN] * 3
    assert {str(one.file.relative_to(tmp_path).parts[0]) for one in found} == {".agents", ".claude", ".cursor"}
    assert {one.outcome for one in install(tmp_path)} == {Outcome.CURRENT}
    assert len(remove(tmp_path)) == 3
    assert _all(tmp_path) - before == set()
    assert remove(tmp_path) == []


def test_an_edited_file_stays(tmp_path: Path) -> None:
    """A file with any edit is neither renewed nor removed."""
    (shared,) = install(tmp_path)
    text = shared.file.read_text(encoding="utf-8")
    for edited in (text.replace("Ask before", "Never ask before"), text + "\n", "mine"):
        shared.file.write_text(edited, encoding="utf-8")
        assert [one.outcome for one in install(tmp_path)] == [Outcome.EDITED]
        assert [one.outcome for one in remove(tmp_path)] == [Outcome.EDITED]
        assert shared.file.read_text(encoding="utf-8") == edited


def test_an_older_version_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older version without edits is renewed, since its hash fits."""
    monkeypatch.setattr(installing, "version", lambda _name: "0.0.1")
    install(tmp_path)
    monkeypatch.undo()

    assert [one.outcome for one in install(tmp_path)] == [Outcome.WRITTEN]
    assert (tmp_path / SHARED).read_text(encoding="utf-8") == skill_text()
