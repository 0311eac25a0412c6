"""The pictures on the pages, which `python scripts/screenshots.py` takes."""

from __future__ import annotations

import re
import struct
import zlib
from itertools import chain
from pathlib import Path

import pytest

from screenshots import IMAGES, ROOT, SCREENSHOTS, indexed

MAX_BYTES = 150_000
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_each_picture_has_its_command_and_its_place() -> None:
    """The pictures in docs/images, those that the command takes, and those on the pages are the same."""
    shown = set(chain.from_iterable(re.findall(r"images/([\w-]+)\.png", page.read_text("utf-8")) for page in PAGES))

    assert {path.stem for path in IMAGES.glob("*.png")} == set(SCREENSHOTS) == shown


@pytest.mark.parametrize("name", SCREENSHOTS)
def test_a_picture_is_what_the_command_would_take(name: str) -> None:
    """Each picture has its screen's size in pixels, and is below the limit in bytes."""
    png = (IMAGES / f"{name}.png").read_bytes()

    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == SCREENSHOTS[name].size
    assert len(png) < MAX_BYTES


@pytest.mark.outer
def test_a_picture_of_few_colours_stays_the_same(tmp_path: Path) -> None:
    """A picture of at most 256 colours keeps the colour of each pixel, and a browser can read it."""
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
    """Return the palette and the rows of a PNG file with a palette."""
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
