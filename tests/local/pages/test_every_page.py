"""Every page in every state, checked with axe: in light and dark, on a desktop and on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from chromium import chromium
from page_routes import page_routes
from pandaprobe_otel.local import LocalServer
from rings import IN_FULL
from shop_pages import all_pages, more_states, newest, open_shop, stock
from watched_tabs import DESK_WIDTH, PHONE_WIDTH, Theme, Watched, found_by_axe

pytestmark = [pytest.mark.outer, pytest.mark.timeout(1800)]

NO_PAGES: Final = {
    "/ui/complete": "JSON for the search field",
    "/ui/latest": "a number for pages that look for news",
    "/ui/selected/export": "a file",
    "/ui/static/{name}": "the style sheet and the scripts",
    "/ui/traces/{trace_id}/markdown": "text to copy",
    "/ui/traces/{trace_id}/raw": "JSON",
    "/ui/traces/{trace_id}/spans/{span_id}": "the part of a page that shows a span, seen in it",
    "/ui/traces/{trace_id}/summary": "the part of a page that shows a trace, seen in it",
}
"""Addresses below /ui that are not pages of their own."""


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Yield the browser of this file."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server that has content for every page."""
    with open_shop() as running:
        stock(running)
        yield running


@pytest.fixture(scope="module")
def pages(server: LocalServer) -> Mapping[str, str]:
    """Return the address of every page, by the name of its state."""
    return {**all_pages(server), **more_states(server)}


def complete(tab: Page) -> None:
    """Type into the search field, so that the list of completions is open."""
    tab.get_by_role("combobox", name="Search").press_sequentially("mod")
    expect(tab.locator("#completed li")).to_have_count(1)


def ask_for_help(tab: Page) -> None:
    """Open the list of keyboard shortcuts."""
    tab.keyboard.press("?")
    expect(tab.get_by_role("dialog")).to_be_visible()


def be_refused(tab: Page) -> None:
    """Send an incomplete form."""
    tab.get_by_role("button", name="Evaluate").click()
    expect(tab.locator("main")).to_contain_text("Choose a metric.")


def sign_in_wrongly(tab: Page) -> None:
    """Enter a wrong token."""
    tab.get_by_label("Token").fill("sesame")
    tab.keyboard.press("Enter")
    tab.get_by_text(re.compile("not the token", re.IGNORECASE)).wait_for()


STEPS: Final[dict[str, tuple[str, Callable[[Page], None]]]] = {
    "completion": ("/ui", complete),
    "help": ("/ui", ask_for_help),
    "refused action": (f"/ui/selected?trace={newest()[0]}", be_refused),
    "wrong token": ("/ui/sign-in", sign_in_wrongly),
}
"""Pages whose state appears only after an action on another page."""


def test_no_page_is_left_out(pages: Mapping[str, str]) -> None:
    """Each address below /ui is tested as a page or listed as not being one."""
    below = page_routes("GET")
    seen = [address.partition("?")[0] for address in [*pages.values(), *(address for address, _ in STEPS.values())]]
    looked_at = {route.path for route in below if any(route.path_regex.fullmatch(path) for path in seen)}

    assert {route.path for route in below} - looked_at == set(NO_PAGES)


@pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("light", DESK_WIDTH),
        pytest.param("dark", PHONE_WIDTH, marks=IN_FULL),
        pytest.param("dark", DESK_WIDTH, marks=IN_FULL),
        pytest.param("light", PHONE_WIDTH, marks=IN_FULL),
    ],
)
def test_every_page_can_be_read_by_everybody(
    browser: Browser,
    server: LocalServer,
    pages: Mapping[str, str],
    theme: Theme,
    width: int,
    tmp_path: Path,
) -> None:
    """Axe finds nothing, each page has one heading of the first level, and no page is wider than the screen."""
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        found[name] = found_by_axe(tab)
        if (headings := tab.locator("h1:visible").count()) != 1:
            found[name].append(f"{headings} headings of the first level")
        if (drawn := tab.evaluate("document.documentElement.scrollWidth")) > width:
            found[name].append(f"{drawn} pixels wide")

    context = browser.new_context(
        base_url=server.url, color_scheme=theme, viewport={"width": width, "height": 900}, accept_downloads=True
    )
    watched = Watched(context)
    with watched as tab:
        for name, address in pages.items():
            tab.goto(address)
            look(name)
        for name, (address, step) in STEPS.items():
            tab.goto(address)
            step(tab)
            look(name)
        tab.goto(f"/ui/selected?trace={newest()[3]}")
        with tab.expect_download() as saving:
            tab.get_by_role("link", name="One page").click()
        saving.value.save_as(tmp_path / "traces.html")
        tab.goto((tmp_path / "traces.html").as_uri())
        look("exported file")
        tab.get_by_role("treeitem", name="refund_order").click()
        look("exported span")
        # A missing or refused page has status 404 or 422, which a browser logs as an error.
        watched.problems[:] = [one for one in watched.problems if "Failed to load resource" not in one]

    assert {name: complaints for name, complaints in found.items() if complaints} == {}
