"""Every public method of the client libraries is traced, or a reason is given."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from client_surfaces import Found, Library, all_libraries, census

# Deprecated methods are called like the others.
pytestmark = pytest.mark.filterwarnings("ignore")

PATH: Final = Path(__file__).parents[2] / "docs" / "providers.md"
LEFT_OUT: Final = "| not traced | why |"


def _written(library: Library) -> str:
    """Return the text about one library on the page."""
    found = re.search(rf"^### {library.distribution} .*?(?=\n+##|\Z)", PATH.read_text(encoding="utf-8"), re.M | re.S)
    assert found is not None, f"the page has no heading for {library.distribution}"
    return found[0]


def _reasons(text: str) -> list[str]:
    """Return the rows of methods that are left out, each with a reason."""
    return [row for row in text.partition(LEFT_OUT)[2].splitlines() if row.startswith("| `")]


def _census(library: Library, text: str) -> Found:
    return census(library, [name for row in _reasons(text) for name in re.findall("`(.+?)`", row)])


def _lines(library: Library, found: Found, reasons: Sequence[str]) -> Iterator[str]:
    """Yield the text about one library, with these rows of methods that are left out."""
    yield f"### {library.distribution} {library.version}"
    yield ""
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


def _news(library: Library, text: str) -> str:
    try:
        found = _census(library, text)
    except Exception as error:  # noqa: BLE001 - the client may differ in this version
        return f"cannot be called so: {error}"
    return ", ".join(found.unknown) or "nothing that makes no span"


@pytest.mark.parametrize("library", all_libraries(), ids=lambda library: library.integration)
def test_every_method(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/providers.md lists each method of the installed client; another version's differences are xfailed."""
    monkeypatch.chdir(tmp_path)  # some methods write files
    written = _written(library)
    on_the_page = written.split()[2]
    if on_the_page != library.version and not os.environ.get("WRITE_PAGES"):
        news = _news(library, written)
        pytest.xfail(f"{library.distribution} {library.version}, on the page {on_the_page}: {news}")
    found = _census(library, written)
    expected = "\n".join(_lines(library, found, _reasons(written)))
    if os.environ.get("WRITE_PAGES"):
        PATH.write_text(PATH.read_text(encoding="utf-8").replace(written, expected), encoding="utf-8")
    assert list(found.unknown) == []
    assert list(found.outdated) == []
    assert _written(library) == expected, "run the tests with WRITE_PAGES=1"
