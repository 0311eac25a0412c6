"""The pictures of the pages: those that the documentation shows are those that `make screenshots` takes."""

from __future__ import annotations

import re
import struct
import zlib
from itertools import chain
from pathlib import Path

import pytest

from screenshots import DESK, IMAGES, PHONE, ROOT, SCREENSHOTS, indexed

MAX_BYTES = 150_000
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_each_picture_has_its_command_and_its_place() -> None:
    """Every picture in docs/images is taken by the command, and is shown on a page; nothing is taken for nobody."""
    shown = set(chain.from_iterable(re.findall(r"images/([\w-]+)\.png", page.read_text("utf-8")) for page in PAGES))

    assert {path.stem for path in IMAGES.glob("*.png")} == set(SCREENSHOTS) == shown


def test_pictures_show_both_themes_and_both_screens() -> None:
    """Light and dark, a desk of 1440 pixels and a phone of 390."""
    assert {one.theme for one in SCREENSHOTS.values()} == {"light", "dark"}
    assert {one.size for one in SCREENSHOTS.values()} == {DESK, PHONE}
    assert (DESK[0], PHONE[0]) == (1440, 390)


@pytest.mark.parametrize("name", SCREENSHOTS)
def test_a_picture_is_what_the_command_would_take(name: str) -> None:
    """Its size in pixels is the screen's, and it is small."""
    png = (IMAGES / f"{name}.png").read_bytes()

    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == SCREENSHOTS[name].size
    assert len(png) < MAX_BYTES


def test_a_verb_takes_them() -> None:
    """`make screenshots` runs the script."""
    makefile = (ROOT / "Makefile").read_text("utf-8")

    assert re.search(r"^screenshots:.*\n\t\$\(PYTHON\) scripts/screenshots\.py$", makefile, re.MULTILINE)


@pytest.mark.outer
def test_a_picture_of_few_colours_stays_the_same(tmp_path: Path) -> None:
    """Each pixel has its colour where there are at most 256; the file is one that a browser reads."""
    from chromium import chromium

    stripes = "".join(f"<i style='background:rgb({n * 5},{255 - n},{n * 3 % 256})'></i>" for n in range(50))
    html = f"<!doctype html><style>body{{margin:0}}i{{float:left;width:2px;height:20px}}</style>{stripes}"
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 100, "height": 20})
        page.set_content(html)
        png = indexed(browser.new_page(), page.screenshot())
        page.set_content(f"<img src='data:image/png;base64,{_base64(png)}'>")
        assert page.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 100
    colours, rows = _decoded(png)

    assert len(rows) == 20
    for row in rows:
        assert [colours[row[2 * n]] for n in range(50)] == [(n * 5, 255 - n, n * 3 % 256) for n in range(50)]


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def _decoded(png: bytes) -> tuple[list[tuple[int, ...]], list[bytes]]:
    """Return the palette and the rows of a PNG file with one."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunks[png[at + 4 : at + 8]] = png[at + 8 : at + 8 + length]
        at += length + 12
    palette = [tuple(chunks[b"PLTE"][n : n + 3]) for n in range(0, len(chunks[b"PLTE"]), 3)]
    width = struct.unpack(">I", chunks[b"IHDR"][:4])[0] + 1
    data = zlib.decompress(chunks[b"IDAT"])
    return palette, [data[n + 1 : n + width] for n in range(0, len(data), width)]
