"""The relative links of the documentation, each to an existing file and heading, and its pictures."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final

import pytest

from doc_blocks import DOCS, ROOT, name_of
from screenshots import IMAGES, SCREENSHOTS

OF_THE_REPOSITORY: Final = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md")
PAGES: Final = [
    *(ROOT / name for name in OF_THE_REPOSITORY),
    ROOT / "benchmarks" / "README.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(DOCS.rglob("*.md")),
]


def prose(page: Path) -> str:
    """Return a page without its blocks of code, whose brackets are not links."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    return headings | set(re.findall(r'<a id="(\w+)">', text))


def slug(heading: str) -> str:
    """Return a heading's anchor, as Python-Markdown and GitHub form it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{'site: ' if DOCS in page.parents else ''}{name_of(page)}")
def test_links_lead_somewhere(page: Path) -> None:
    """Each link leads to an existing file and heading, in the repository and on the site, which has only its pages."""
    wrong: list[str] = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = DOCS not in page.parents or DOCS in target.parents
        if not target.exists() or not inside or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


SHOWN: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", SCREENSHOTS)
def test_each_picture_is_shown_and_can_be_taken_again(name: str) -> None:
    """The pictures in the repository, on the pages and of `scripts/screenshots.py` are the same, in size and number."""
    text = "".join(page.read_text(encoding="utf-8") for page in SHOWN)
    png = (IMAGES / f"{name}.png").read_bytes()

    assert (
        {path.stem for path in IMAGES.glob("*.png")}
        == set(SCREENSHOTS)
        == set(re.findall(r"images/([\w-]+)\.png", text))
    )
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == SCREENSHOTS[name].size
    assert len(png) < 150_000
