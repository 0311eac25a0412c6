"""Consistent words: the glossary of CONTRIBUTING.md, and the beginnings of docstrings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pandaprobe_otel
import pandaprobe_otel_integrations

ROOT: Final = Path(__file__).parents[1]
# The imported packages: the tests also run with the installed wheel, without the sources.
SOURCE: Final = tuple(Path(package.__path__[0]) for package in (pandaprobe_otel, pandaprobe_otel_integrations))
EVERYTHING: Final = (*SOURCE, *(ROOT / name for name in ("scripts", "benchmarks", "examples", "tests")))
_QUESTION: Final = re.compile(r'^\s*r?"""(?:What|Whether|How|Where|Who|Which|When|There)\b.*', re.MULTILINE)


def test_no_docstring_begins_with_a_question() -> None:
    """A docstring begins with a verb (functions) or a noun (values, classes, modules)."""
    found = [
        f"{path}: {match.group().strip()}"
        for root in EVERYTHING
        for path in sorted(root.rglob("*.py"))
        for match in _QUESTION.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_glossary_has_one_meaning_for_each_word() -> None:
    """CONTRIBUTING.md explains at least thirty words, in alphabetical order, each once and in at most forty words."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    glossary = text.partition("## Words\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \*\*([^*]+)\*\* \| (.+) \|$", glossary, re.MULTILINE)
    words = [word for word, _ in rows]
    assert len(words) >= 30
    assert words == sorted(set(words))
    assert [meaning for _, meaning in rows if len(meaning.split()) > 40] == []
