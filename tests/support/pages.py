"""Pages that several commands write: each writes its own sections, found by their second-level headings."""

from __future__ import annotations

import re


def section(page: str, heading: str) -> str:
    """Return the text below a heading, up to the next one; empty without such a heading."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return found[1].strip("\n") if found is not None else ""


def with_section(page: str, heading: str, text: str) -> str:
    """Return the page with this text below the heading. Raise ValueError without such a heading."""
    start = re.search(rf"^## {re.escape(heading)}\n", page, re.MULTILINE)
    if start is None:
        raise ValueError(f"the page has no section {heading}")
    end = re.compile(r"^## ", re.MULTILINE).search(page, start.end())
    rest = page[end.start() :] if end is not None else ""
    return f"{page[: start.end()]}\n{text}\n{chr(10) if rest else ''}{rest}"
