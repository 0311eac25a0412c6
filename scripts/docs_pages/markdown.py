"""Parts of Markdown that the generated pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WRITTEN = "<!-- Written by scripts/write_docs.py: change the source that it reads, then run it (`make docs`). -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, with pipes and line breaks in cells escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell(text) for text in row) + " |" for row in rows]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Return text in the form for a table cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(language: str, text: str, *, title: str = "") -> str:
    """Return a fenced block, with a title if one is given."""
    heading = f'{language} title="{title}"' if title else language
    return f"```{heading}\n{text.strip()}\n```"
