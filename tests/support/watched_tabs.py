"""Browser tabs in which no script may fail and no request may leave the machine, and a check with axe."""

from __future__ import annotations

from typing import Any, Final, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page

Theme = Literal["light", "dark"]
DESK_WIDTH: Final = 1440
PHONE_WIDTH: Final = 390


class Watched:
    """Context manager of a new tab, which fails at the end if a script failed or a request left the machine."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.problems: list[str] = []

    def __enter__(self) -> Page:
        tab = self.context.new_page()
        tab.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        tab.on("console", lambda line: self.problems.append(f"console: {line.text}"))
        tab.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda request: self._note(request.url))
        return tab

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.problems == []

    def _note(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "file://", "data:")):
            self.problems.append(f"asked for {url}")


def found_by_axe(tab: Page, **options: Any) -> list[str]:
    """Return axe's complaints about a page."""
    violations = Axe().run(tab, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in violations]
