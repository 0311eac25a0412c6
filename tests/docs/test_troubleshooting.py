"""docs/troubleshooting.md: the library has the words of each message on the page."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import pandaprobe_otel
from doc_blocks import DOCS

OF_OTHERS = ("{'filtered': 1}", "Overriding of current TracerProvider is not allowed")
"""A printed value, and a message of OpenTelemetry."""


def messages() -> list[str]:
    """Return the messages of the page, each in one line."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    found = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [one for one in (" ".join(each.split()) for each in found) if one not in OF_OTHERS]


def runs(text: str) -> list[tuple[str, ...]]:
    """Return each three words that follow each other in a text."""
    words = re.findall(r"[\w()/`'-]+", text)
    return [*zip(words, words[1:], words[2:], strict=False)]


@cache
def library() -> frozenset[tuple[str, ...]]:
    """Return the runs of words in the texts of the source."""
    found: set[tuple[str, ...]] = set()
    for path in Path(pandaprobe_otel.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(runs(node.value))
    return frozenset(found)


@pytest.mark.parametrize("message", messages())
def test_the_message_has_the_words_of_the_library(message: str) -> None:
    """Words of a message stand in the same order in a text of the source, except for values; of a long one, most."""
    written = runs(message)
    known = [run for run in written if run in library()]

    assert len(known) >= max(1, len(written) / 2 if len(written) > 12 else 0), [
        run for run in written if run not in known
    ]
