"""Take screenshots of the pages for README.md and docs/local.md.

python scripts/pictures.py    writes docs/images/*.png; needs Chromium and the extra `dev`
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, Literal

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import shop_traces as shop  # noqa: E402
from chromium import chromium  # noqa: E402
from pandaprobe_otel.local import LocalServer  # noqa: E402

DAYS: Final = 14
NEWEST: Final = DAYS * 6
PICTURES: Final[dict[str, tuple[str, Literal["light", "dark"]]]] = {
    "trace": (f"/ui/traces/{shop.trace_id(NEWEST + 3)}", "light"),
    "conversation": (f"/ui/traces/{shop.trace_id(NEWEST + 1)}?view=chat", "dark"),
    "comparison": (f"/ui/diff?trace={shop.trace_id(NEWEST)}&trace={shop.trace_id(NEWEST + 3)}", "dark"),
    "evaluations": ("/ui/evaluations?by=day", "light"),
}


def main() -> None:
    """Fill a server with two weeks of a shop's conversations, and take screenshots of its pages."""
    with LocalServer(limit=None, scripted_judge=True) as server, chromium() as browser:
        shop.fill(server, days=DAYS)
        for name, (path, scheme) in PICTURES.items():
            context = browser.new_context(
                base_url=server.url, viewport={"width": 1280, "height": 760}, color_scheme=scheme
            )
            page = context.new_page()
            page.goto(path)
            page.screenshot(path=ROOT / "docs" / "images" / f"{name}.png")
            context.close()


if __name__ == "__main__":
    main()
