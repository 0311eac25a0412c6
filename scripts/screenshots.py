"""Take the pictures of the local PandaProbe's pages for README.md and the documentation.

python scripts/screenshots.py [NAME ...]    writes docs/images/NAME.png, or all; needs Chromium, and the extra dev

A server is filled with two weeks of a shop's conversations, and Chromium opens its pages in light and dark themes, in
the sizes of a desktop and of a phone. A picture has 256 colours, which keeps the repository small and text sharp.
"""

from __future__ import annotations

import base64
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT: Final = Path(__file__).parents[1]
IMAGES: Final = ROOT / "docs" / "images"
DAYS: Final = 14
NEWEST: Final = DAYS * 6
RELEASES: Final = ("2.3.1", "2.4.0")
DESK: Final = (1440, 810)
PHONE: Final = (390, 760)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screenshot:
    """A picture: the path of its page, its theme and its size.

    In the path, `{0}` to `{5}` are the ids of the newest day's traces.
    """

    path: str
    theme: Literal["light", "dark"]
    size: tuple[int, int] = DESK


SCREENSHOTS: Final[dict[str, Screenshot]] = {
    "trace": Screenshot(path="/ui/traces/{3}", theme="light"),
    "conversation": Screenshot(path="/ui/traces/{1}?view=chat", theme="dark"),
    "comparison": Screenshot(path="/ui/diff?trace={0}&trace={3}", theme="dark"),
    "overview": Screenshot(path="/ui/overview", theme="light"),
    "evaluations": Screenshot(path="/ui/evaluations?by=day", theme="light"),
    "phone-traces": Screenshot(path="/ui", theme="light", size=PHONE),
    "phone-trace": Screenshot(path="/ui/traces/{3}", theme="dark", size=PHONE),
}

_INDEXED: Final = """
async (source) => {
    const bitmap = await createImageBitmap(await (await fetch(source)).blob())
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d")
    context.drawImage(bitmap, 0, 0)
    const pixels = new Uint32Array(context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer)
    const counts = new Map()
    for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1)
    const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([pixel]) => pixel)
    const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255]
    const palette = most.map(parts)
    const places = new Map(most.map((pixel, place) => [pixel, place]))
    for (const pixel of counts.keys()) {
        if (places.has(pixel)) continue
        const [r, g, b] = parts(pixel)
        let best = 0, least = Infinity
        palette.forEach(([x, y, z], place) => {
            const distance = (r - x) ** 2 + (g - y) ** 2 + (b - z) ** 2
            if (distance < least) { least = distance; best = place }
        })
        places.set(pixel, best)
    }
    let rows = ""
    for (const pixel of pixels) rows += String.fromCharCode(places.get(pixel))
    return {width: bitmap.width, palette: palette.flat(), rows: btoa(rows)}
}
"""
"""A script that returns a picture's 256 most frequent colours and, for each pixel, the index of the nearest one."""


def main(names: Sequence[str]) -> None:
    """Fill a server with two weeks of a shop's conversations, and take the pictures of its pages."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import shop_traces as shop
    from chromium import chromium
    from pandaprobe_otel.local import LocalServer

    unknown = set(names) - set(SCREENSHOTS)
    if unknown:
        sys.exit(f"no such picture: {', '.join(sorted(unknown))}")
    with LocalServer(limit=None, scripted_judge=True) as server, chromium() as browser:
        shop.fill(server, days=DAYS, releases=RELEASES)
        server.services.sealer.seal_now()
        ids = [shop.trace_id(NEWEST + number) for number in range(6)]
        for name in names or SCREENSHOTS:
            one = SCREENSHOTS[name]
            png = taken(browser, f"{server.url}{one.path.format(*ids)}", one)
            (IMAGES / f"{name}.png").write_bytes(png)
            print(f"{name}.png: {len(png) / 1000:.0f} kB")


def taken(browser: Browser, address: str, one: Screenshot) -> bytes:
    """Return the picture of a page as a PNG file."""
    width, height = one.size
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=one.theme)
    page = context.new_page()
    page.goto(address)
    page.mouse.move(0, 0)
    shot = page.screenshot(animations="disabled", caret="hide")
    small = indexed(context.new_page(), shot)
    context.close()
    return small


def indexed(blank: Page, png: bytes) -> bytes:
    """Return a picture as a PNG file of 256 colours, computed in an empty page."""
    found: dict[str, Any] = blank.evaluate(_INDEXED, f"data:image/png;base64,{base64.b64encode(png).decode()}")
    pixels, width = base64.b64decode(found["rows"]), int(found["width"])
    rows = [pixels[at : at + width] for at in range(0, len(pixels), width)]
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", bytes(found["palette"])), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunks(chunks))


def _chunks(chunks: Sequence[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for kind, data in chunks:
        yield struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    main(sys.argv[1:])
