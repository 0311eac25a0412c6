"""Hostile texts wherever content is shown: no script runs and no request is sent, even without a content policy.

Each text is tried as Markdown, in pictures, in targets and words of links, in code and names of languages, and in keys
and values of JSON, on every page that shows a trace and in an exported file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page

from chromium import chromium
from hostile_markdown import HOSTILE, OTHER, PLACES, TRACE, addresses, as_markdown, as_pictures, trace_of
from local_http import http_of
from pandaprobe_otel.local import LocalServer
from rings import IN_FULL
from watched_tabs import Watched

pytestmark = pytest.mark.outer

IN_CI: Final = (as_markdown, as_pictures)

AUDIT: Final = """
() => {
    const kept = /^data:(image\\/(png|jpeg|gif|webp)|audio\\/(mpeg|ogg|wav));base64,/
    const own = /^\\/ui\\/static\\//
    const allowed = {a: /^(https?:|mailto:|#|\\?|\\/(?!\\/))/i, form: /^\\/(?!\\/)/, link: own, script: own}
    const wrong = (node, one) => {
        const name = one.name.toLowerCase(), tag = node.tagName.toLowerCase()
        if (name.startsWith("on") || ["style", "srcdoc", "srcset", "ping", "background"].includes(name)) return true
        if (!["href", "xlink:href", "src", "action", "formaction", "data", "poster"].includes(name)) return false
        if (tag === "img" || tag === "audio") return !kept.test(one.value) && !one.value.startsWith("/ui/static/")
        return !(name === "formaction" ? allowed.form : allowed[tag] || /^$/).test(one.value)
    }
    const forbidden = "iframe, object, embed, base, meta[http-equiv], script:not([src]), style, video"
    return [...document.querySelectorAll("*")]
        .flatMap((node) => [...node.attributes].filter((one) => wrong(node, one)).map((one) => [node, one]))
        .map(([node, one]) => `${node.tagName} ${one.name}=${one.value.slice(0, 80)}`)
        .concat([...document.querySelectorAll(forbidden)].map((node) => node.outerHTML.slice(0, 120)))
}
"""
"""A script that lists whatever could run or load: handlers, styles, unexpected addresses, embedded documents."""


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Yield the browser of this file."""
    with chromium() as running:
        yield running


def assert_inert(tab: Page, where: str) -> None:
    """Check that no script ran, and that nothing on the page could run or load."""
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    assert tab.evaluate("window.ran") is None, where
    assert tab.evaluate(AUDIT) == [], where


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "place",
    [pytest.param(place, id=place.__name__, marks=() if place in IN_CI else IN_FULL) for place in PLACES],
)
def test_no_page_runs_or_loads_it(browser: Browser, tmp_path: Path, place: Callable[[str], list[Any]]) -> None:
    """Even without the content policy, a browser runs nothing and loads nothing from a hostile text."""
    contents = [shown for text in HOSTILE for shown in place(text)]
    bodies = [trace_of(TRACE, contents), trace_of(OTHER, contents[::-1])]
    with LocalServer(limit=None) as server, http_of(server) as http:
        for body in bodies:
            http.post("/traces", json=body).raise_for_status()
        reason = "\n\n".join(one for one in contents if isinstance(one, str))[:4000]
        score = {"trace_id": TRACE, "name": bodies[0]["name"], "value": "0.1", "reason": reason}
        http.post("/evaluations/trace-scores", json={**score, "metadata": bodies[0]["metadata"]}).raise_for_status()
        context = browser.new_context(base_url=server.url, bypass_csp=True, accept_downloads=True)
        with Watched(context) as tab:
            for path in addresses(server, bodies[0]["session_id"]):
                answer = tab.goto(path)
                assert answer is not None, path
                assert answer.status == 200, path
                assert_inert(tab, path)
            with tab.expect_download() as saving:
                tab.evaluate(f"location.href = '/ui/selected/export?trace={TRACE}&trace={OTHER}'")
            saving.value.save_as(tmp_path / "traces.html")
            tab.goto((tmp_path / "traces.html").as_uri())
            for number in (1, 2):
                tab.goto(f"{(tmp_path / 'traces.html').as_uri()}#t{number}")
                for node in tab.locator("article:visible .node").all():
                    node.click()
                assert tab.evaluate("window.ran") is None
            ours = ("STYLE", "<style", "<script", "<meta http-equiv", "LINK href=data:", "IMG src=data:image/svg+xml")
            found = [one for one in tab.evaluate(AUDIT) if not one.startswith(ours)]
            assert found == []
