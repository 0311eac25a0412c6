"""Every public method of the client libraries is traced, or a reason is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.providers_page import PATH
from pages import section, with_section
from surface.census import Library, all_libraries, census
from surface.traced_methods_page import HEADING, part, parts_of, version_in, whole

# Deprecated methods are called like the others.
pytestmark = pytest.mark.filterwarnings("ignore")


def _write(library: Library, text: str) -> None:
    page = PATH.read_text(encoding="utf-8")
    parts = {**parts_of(section(page, HEADING)), library.distribution: text}
    PATH.write_text(with_section(page, HEADING, whole(parts)), encoding="utf-8")


def _news(library: Library) -> str:
    try:
        found = census(library)
    except Exception as error:  # noqa: BLE001 - the client may differ in this version
        return f"cannot be called so: {error}"
    return ", ".join(found.unknown) or "nothing that makes no span"


@pytest.mark.parametrize("library", all_libraries(), ids=lambda library: library.integration)
def test_every_method(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/providers.md lists each method of the installed client; another version's differences are xfailed."""
    monkeypatch.chdir(tmp_path)  # some methods write files
    if os.environ.get("WRITE_PAGES"):
        _write(library, part(library, census(library)))
    written = parts_of(section(PATH.read_text(encoding="utf-8"), HEADING))[library.distribution]
    if version_in(written) != library.version:
        pytest.xfail(f"{library.distribution} {library.version}, on the page {version_in(written)}: {_news(library)}")
    found = census(library)
    assert list(found.unknown) == []
    assert list(found.outdated) == []
    assert written == part(library, found), "run the tests with WRITE_PAGES=1"
