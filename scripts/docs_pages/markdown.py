"""Pieces of Markdown that the written pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WRITTEN = "<!-- Written by scripts/write_docs.py: change the source that it reads, then run it (`make docs`). -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; pipes and line breaks in cells are made harmless."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell(text) for text in row) + " |" for row in rows]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Text as it may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(language: str, text: str, *, title: str = "") -> str:
    """A fenced block, with a title where one is given."""
    heading = f'{language} title="{title}"' if title else language
    return f"```{heading}\n{text.strip()}\n```"
