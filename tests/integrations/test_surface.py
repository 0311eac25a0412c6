"""Every public method of the client libraries is traced, or a reason is given."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from client_surfaces import Found, Library, all_libraries, census
from conformance.providers_page import PATH
from pages import section, with_section

HEADING: Final = "What is traced, and what is not"
INTRODUCTION: Final = """\
The test calls every public method of each client once, and checks whether it makes a span. `WRITE_PAGES=1 pytest
tests/integrations/test_surface.py` writes this section, except the reasons. It names the methods of the synchronous
client; those of the asynchronous client behave the same. If a newer version of a client adds a method, the test names
it."""
LEFT_OUT: Final = "| not traced | why |"
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


def part(library: Library, found: Found, reasons: Sequence[str]) -> str:
    """Return the text about one library, with these rows of methods that are left out."""
    return "\n".join([f"### {library.distribution} {library.version}", "", *_lines(found, reasons)])


def _reasons(part: str) -> list[str]:
    """Return the rows of methods that are left out, each with a reason."""
    return [row for row in part.partition(LEFT_OUT)[2].splitlines() if row.startswith("| `")]


def _census(library: Library, part: str) -> Found:
    return census(library, [name for row in _reasons(part) for name in re.findall("`(.+?)`", row)])


def _lines(found: Found, reasons: Sequence[str]) -> Iterator[str]:
    by_operation: dict[str, list[str]] = {}
    for name, operation in found.traced.items():
        by_operation.setdefault(operation, []).append(name)
    yield "| traced as | by |"
    yield "| --- | --- |"
    for operation, names in sorted(by_operation.items()):
        shown = operation if " " in operation else f"`{operation}`"
        yield f"| {shown} | {_code(names)} |"
    yield ""
    yield LEFT_OUT
    yield "| --- | --- |"
    yield from reasons
    if found.reading:
        yield f"| {len(found.reading)} others | What the service keeps is read or deleted. |"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# Deprecated methods are called like the others.
pytestmark = pytest.mark.filterwarnings("ignore")


def _write(library: Library, text: str) -> None:
    page = PATH.read_text(encoding="utf-8")
    parts = {**parts_of(section(page, HEADING)), library.distribution: text}
    PATH.write_text(with_section(page, HEADING, whole(parts)), encoding="utf-8")


def _news(library: Library, written: str) -> str:
    try:
        found = _census(library, written)
    except Exception as error:  # noqa: BLE001 - the client may differ in this version
        return f"cannot be called so: {error}"
    return ", ".join(found.unknown) or "nothing that makes no span"


@pytest.mark.parametrize("library", all_libraries(), ids=lambda library: library.integration)
def test_every_method(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/providers.md lists each method of the installed client; another version's differences are xfailed."""
    monkeypatch.chdir(tmp_path)  # some methods write files
    written = parts_of(section(PATH.read_text(encoding="utf-8"), HEADING))[library.distribution]
    reasons = _reasons(written)
    if os.environ.get("WRITE_PAGES"):
        written = part(library, _census(library, written), reasons)
        _write(library, written)
    if version_in(written) != library.version:
        news = _news(library, written)
        pytest.xfail(f"{library.distribution} {library.version}, on the page {version_in(written)}: {news}")
    found = _census(library, written)
    assert list(found.unknown) == []
    assert list(found.outdated) == []
    assert written == part(library, found, reasons), "run the tests with WRITE_PAGES=1"
