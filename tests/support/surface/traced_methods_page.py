"""The section about traced methods in docs/providers.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from .census import Found, Library

HEADING: Final = "What is traced, and what is not"
INTRODUCTION: Final = """\
The test calls every public method of each client once, and checks whether it makes a span. `WRITE_PAGES=1 pytest
tests/integrations/test_surface.py` writes this section. It names the methods of the synchronous client; those of the
asynchronous client behave the same. If a newer version of a client adds a method, the test names it."""
_TITLE: Final = re.compile(r"^### (\S+) (\S+)\n", re.MULTILINE)


def parts_of(section: str) -> dict[str, str]:
    """Return the text about each library in the section, by its distribution."""
    titles = [*_TITLE.finditer(section)]
    ends = [*(title.start() for title in titles[1:]), len(section)]
    return {title[1]: section[title.start() : end].strip("\n") for title, end in zip(titles, ends, strict=False)}


def version_in(part: str) -> str | None:
    """Return the version of the library in this text."""
    found = _TITLE.match(part)
    return found[2] if found is not None else None


def whole(parts: Mapping[str, str]) -> str:
    """Return the section made of these texts."""
    return "\n\n".join([INTRODUCTION, *(parts[name] for name in sorted(parts))])


def part(library: Library, found: Found) -> str:
    """Return the text about one library."""
    return "\n".join([f"### {library.distribution} {library.version}", "", *_lines(library, found)])


def _lines(library: Library, found: Found) -> Iterator[str]:
    by_operation: dict[str, list[str]] = {}
    for name, operation in found.traced.items():
        by_operation.setdefault(operation, []).append(name)
    yield "| traced as | by |"
    yield "| --- | --- |"
    for operation, names in sorted(by_operation.items()):
        shown = operation if " " in operation else f"`{operation}`"
        yield f"| {shown} | {_code(names)} |"
    yield ""
    yield "| not traced | why |"
    yield "| --- | --- |"
    for reason, patterns in library.left_out.items():
        yield f"| {_code(patterns)} | {reason} |"
    if found.reading:
        yield f"| {len(found.reading)} others | What the service keeps is read or deleted. |"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
