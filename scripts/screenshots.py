"""Take the pictures of the local PandaProbe's pages for README.md and the documentation.

python scripts/screenshots.py [NAME ...]    writes docs/images/NAME.png, or all; needs Chromium, pngquant, the extra dev

A server is filled with two weeks of a shop's conversations, and Chromium opens its pages in light and dark themes, in
the sizes of a desktop and of a phone. A picture has 256 colours, which keeps the repository small and text sharp.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

ROOT: Final = Path(__file__).parents[1]
IMAGES: Final = ROOT / "docs" / "images"
DAYS: Final = 14
NEWEST: Final = DAYS * 6
RELEASES: Final = ("2.3.1", "2.4.0")
DESK: Final = (1440, 810)
PHONE: Final = (390, 760)


class Screenshot(NamedTuple):
    """A picture: the path of its page, its theme and its size.

    In the path, `{0}` to `{5}` are the ids of the newest day's traces.
    """

    path: str
    theme: Literal["light", "dark"]
    size: tuple[int, int] = DESK


SCREENSHOTS: Final[dict[str, Screenshot]] = {
    "trace": Screenshot("/ui/traces/{3}", "light"),
    "conversation": Screenshot("/ui/traces/{1}?view=chat", "dark"),
    "comparison": Screenshot("/ui/diff?trace={0}&trace={3}", "dark"),
    "overview": Screenshot("/ui/overview", "light"),
    "phone-traces": Screenshot("/ui", "light", PHONE),
    "phone-trace": Screenshot("/ui/traces/{3}", "dark", PHONE),
}


def main(names: Sequence[str]) -> None:
    """Fill a server with two weeks of a shop's conversations, and take the pictures of its pages."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    import shop_traces as shop
    from chromium import chromium
    from pandaprobe_otel.local import LocalServer

    with LocalServer(limit=None, scripted_judge=True) as server, chromium() as browser:
        shop.fill(server, days=DAYS, releases=RELEASES)
        ids = [shop.trace_id(NEWEST + number) for number in range(6)]
        for name in names or SCREENSHOTS:
            path, theme, (width, height) = SCREENSHOTS[name]
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
            page.goto(f"{server.url}{path.format(*ids)}")
            png = page.screenshot(animations="disabled", caret="hide")
            page.close()
            (IMAGES / f"{name}.png").write_bytes(subprocess.check_output(["pngquant", "--speed", "1", "-"], input=png))


if __name__ == "__main__":
    main(sys.argv[1:])
