"""The pages in a real browser, by mouse, keyboard and touch; `test_every_page.py` checks all of them with axe.

One server and one browser serve the whole file: Playwright keeps an event loop in this thread while it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import shop_traces as shop
from chromium import chromium
from command_line import clean_environment, run_here
from local_http import http_of
from pandaprobe_otel.local import LocalServer
from shop_pages import DAYS, PER_DAY, newest, open_shop
from watched_tabs import PHONE_WIDTH, Watched, found_by_axe


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Yield the browser of this file."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server that has content for every page."""
    with open_shop() as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: LocalServer) -> Generator[Page]:
    """Yield a tab; it fails the test if it logs anything or sends a request to another server."""
    context = browser.new_context(base_url=server.url)
    context.set_default_timeout(20_000)
    with Watched(context) as tab:
        yield tab


def test_light_and_dark_follow_the_system_and_the_button(browser: Browser, server: LocalServer) -> None:
    """The page follows the system's colours until the button is used; later pages remember the choice."""
    background = "getComputedStyle(document.body).backgroundColor"
    with Watched(browser.new_context(base_url=server.url, color_scheme="dark")) as tab:
        tab.goto("/ui")
        dark = tab.evaluate(background)
        tab.get_by_role("button", name="Light or dark").click()
        light = tab.evaluate(background)
        tab.goto("/ui/sessions")
        assert tab.evaluate(background) == light
        assert sum(json.loads(f"[{dark[4:-1]}]")) < 100 < 600 < sum(json.loads(f"[{light[4:-1]}]"))


def test_two_traces_are_compared(page: Page) -> None:
    """Two ticked traces are compared, and the views of a trace and the menu lead on and back."""
    page.goto("/ui")
    for number in range(2):
        page.get_by_role("checkbox", name="Choose").nth(number).check()
    page.get_by_role("button", name="Compare 2 of 2").click()
    expect(page.locator("main")).to_contain_text("B against A")
    page.go_back()
    page.get_by_role("link", name="support agent").nth(2).click()
    page.get_by_role("link", name="Tools").click()
    expect(page.get_by_role("row", name="search_help_center")).to_be_visible()
    page.get_by_role("link", name="session chat-").click()
    expect(page.locator(".turn")).to_have_count(2)
    page.get_by_role("link", name="Evaluations").click()
    page.get_by_role("link", name="after the new prompt").click()
    expect(page.locator("main")).to_contain_text("confidence")


def test_a_trace_on_a_phone(browser: Browser, server: LocalServer) -> None:
    """Taps open a span and return to the tree."""
    context = browser.new_context(base_url=server.url, viewport={"width": PHONE_WIDTH, "height": 844}, has_touch=True)
    with Watched(context) as tab:
        tab.goto(f"/ui/traces/{newest()[3]}")
        tab.get_by_role("treeitem", name="refund_order").tap()
        expect(tab.locator("#detail h2")).to_contain_text("refund_order")
        expect(tab.locator("#detail h2")).to_be_in_viewport()
        tab.get_by_role("link", name="All spans").tap()
        expect(tab.locator("#spans")).to_be_in_viewport()


@pytest.mark.outer
@pytest.mark.exhaustive
def test_facets_completion_and_order(browser: Browser, server: LocalServer) -> None:
    """Alt-click excludes a facet; keyboard and mouse complete a search; a chosen order applies at once."""
    with Watched(browser.new_context(base_url=server.url)) as tab:
        tab.goto("/ui")
        tab.locator("[data-facet]").first.click(modifiers=["Alt"])
        expect(tab.locator("[data-search]")).to_have_value(re.compile("^-"))
        tab.goto("/ui")
        field = tab.get_by_role("combobox", name="Search")
        field.press_sequentially("mod")
        expect(tab.locator("#completed li")).to_have_count(1)
        field.press("ArrowDown")
        field.press("Enter")
        expect(field).to_have_value("model:")
        first = tab.locator("#completed li").first
        expect(first).to_be_visible()
        chosen = first.locator("code").inner_text()
        first.click()
        expect(field).to_have_value(f"{chosen} ")
        field.press("Enter")
        expect(tab.locator("[data-row]").first).to_be_visible()
        tab.get_by_label("Sort by").select_option("latency")
        tab.wait_for_url("**sort=latency*")
        tab.get_by_role("link", name="Clear").click()
        expect(tab.locator(".trace-row")).to_have_count((DAYS + 1) * PER_DAY)


def test_by_keyboard(browser: Browser, server: LocalServer) -> None:
    """Rows, spans, errors, folding, search, copying and help work by keyboard; Tab stops at the tree only once."""
    context = browser.new_context(base_url=server.url, permissions=["clipboard-read", "clipboard-write"])
    with Watched(context) as tab:
        tab.goto("/ui")
        tab.keyboard.press("Tab")
        expect(tab.get_by_role("link", name="Skip to content")).to_be_focused()
        for key in "jjj":
            tab.keyboard.press(key)
        tab.keyboard.press("Enter")
        tab.wait_for_url(f"**/traces/{newest()[3]}*")
        tab.keyboard.press("e")
        expect(tab.locator("#detail h2")).to_contain_text("refund_order")
        expect(tab.get_by_role("treeitem", name="refund_order")).to_be_focused()
        assert tab.locator('.node[tabindex="0"]').count() == 1
        tab.keyboard.press("c")
        tab.locator(".copied").wait_for()
        copied = tab.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("# Part of trace support agent")
        assert "payment service timed out" in copied
        while tab.locator(".node.selected .name").inner_text() != "recall similar chats":
            tab.keyboard.press("ArrowUp")
        tab.keyboard.press("ArrowLeft")
        expect(tab.get_by_role("treeitem", name="embed")).to_be_hidden()
        expect(tab.get_by_role("treeitem", name="recall")).to_have_attribute("aria-expanded", "false")
        tab.keyboard.press("ArrowRight")
        expect(tab.get_by_role("treeitem", name="embed")).to_be_visible()
        tab.keyboard.press("/")
        tab.keyboard.type("timed out")
        tab.keyboard.press("Enter")
        expect(tab.locator(".find .count")).to_have_text("2")
        tab.keyboard.press("?")
        expect(tab.get_by_role("dialog")).to_be_visible()
        tab.keyboard.press("Escape")
        expect(tab.get_by_role("dialog")).to_be_hidden()


def test_traces_arrive_while_one_looks(browser: Browser) -> None:
    """The first trace turns the empty page into a list, more traces extend it, and a running trace gains spans."""
    with (
        LocalServer(limit=None) as server,
        http_of(server) as http,
        Watched(browser.new_context(base_url=server.url)) as tab,
    ):
        tab.goto("/ui")
        expect(tab.locator(".snippet").first).to_contain_text("pandaprobe_otel.init()")
        body = shop.shop_trace(1, 0, 0, shop.SOME_TIME, "chat-1")
        running = {**body, "status": "RUNNING", "ended_at": None, "spans": body["spans"][:2]}
        http.post("/traces", json=running).raise_for_status()
        expect(tab.locator(".trace-row")).to_have_count(1)
        http.post("/traces", json=shop.shop_trace(2, 1, 0, shop.SOME_TIME, "chat-2")).raise_for_status()
        expect(tab.locator(".trace-row")).to_have_count(2)
        tab.goto(f"/ui/traces/{body['trace_id']}")
        expect(tab.locator(".node")).to_have_count(3)
        http.post("/traces", json=body).raise_for_status()
        expect(tab.locator(".node")).to_have_count(1 + len(body["spans"]))


def test_text_from_right_to_left_reads_so(browser: Browser) -> None:
    """In an Arabic question the question mark is at the left end; in JSON the comma stays behind the string."""
    question = "أين طلبي رقم A-17؟"
    body = {
        "name": "shop",
        "started_at": "2026-01-02T03:04:05Z",
        "input": question,
        "metadata": {"a": question, "b": 1},
    }
    with LocalServer() as server, http_of(server) as http:
        trace = http.post("/traces", json=body).raise_for_status().json()["trace_id"]
        with Watched(browser.new_context(base_url=server.url)) as tab:
            tab.goto(f"/ui/traces/{trace}")
            text = tab.locator(".said.text", has_text="A-17")
            assert left_of(text, question[-1]) < left_of(text, question[0])
            json_text = tab.locator(".tree-text", has_text="A-17").first
            assert left_of(json_text, ",") > left_of(json_text, question[0])


def left_of(element: Locator, character: str) -> float:
    """Return the horizontal position of the first occurrence of a character within an element."""
    script = """(element, character) => {
        const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT)
        while (walker.nextNode()) {
            const at = walker.currentNode.data.indexOf(character)
            if (at < 0) continue
            const range = document.createRange()
            range.setStart(walker.currentNode, at)
            range.setEnd(walker.currentNode, at + 1)
            return range.getBoundingClientRect().left
        }
    }"""
    return float(element.evaluate(script, character))


def test_times_are_those_of_the_reader(browser: Browser) -> None:
    """A trace that started at 15:00 in London started at midnight in Tokyo, on the next day; the tooltip has UTC."""
    body = {"trace_id": str(UUID(int=99)), "name": "late", "started_at": "2026-01-02T15:00:00Z"}
    with LocalServer(limit=None) as other, http_of(other) as http:
        http.post("/traces", json=body).raise_for_status()
        with Watched(browser.new_context(base_url=other.url, timezone_id="Asia/Tokyo")) as tab:
            tab.goto(f"/ui/traces/{body['trace_id']}")
            expect(tab.locator(".facts .when")).to_have_text("00:00:00.0002026-01-03")
            expect(tab.locator(".facts time").first).to_have_attribute("title", "2026-01-02 15:00:00.000 UTC")


def test_an_exported_file_works_without_a_server(browser: Browser, tmp_path: Path) -> None:
    """The file opens from disk: list, trace, span, views, search and copying work; axe finds nothing."""
    turns = ((0, 0), (1, 0))
    bodies = [shop.shop_trace(10 + n, *turn, shop.SOME_TIME, "chat-1") for n, turn in enumerate(turns)]
    file, page = tmp_path / "traces.jsonl", tmp_path / "traces.html"
    file.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), encoding="utf-8")
    made = run_here("view", str(file), "-o", str(page), environment=clean_environment(tmp_path))
    assert made.returncode == 0, made.stderr
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], offline=True)
    with Watched(context) as tab:
        tab.goto(page.as_uri())
        assert found_by_axe(tab) == []
        tab.get_by_role("link", name="support agent").nth(1).click()
        expect(tab.locator(".detail:visible")).to_contain_text("RuntimeError: payment service timed out")
        tab.get_by_role("treeitem", name="refund_order").click()
        expect(tab.locator(".detail:visible h2")).to_contain_text("refund_order")
        tab.keyboard.press("ArrowUp")
        expect(tab.locator(".detail:visible h2")).to_contain_text("look_up_order")
        assert found_by_axe(tab) == []
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("c")
        tab.locator(".copied").wait_for()
        markdown = tab.evaluate("navigator.clipboard.readText()")
        assert markdown.startswith("# Part of trace support agent")
        assert "look_up_order" in markdown
        assert "refund_order" not in markdown
        tab.get_by_label("Find in spans").locator("visible=true").fill("blender")
        tab.keyboard.press("Enter")
        expect(tab.locator(".find:visible .count")).to_have_text("4")
        tab.get_by_role("link", name="Tools").locator("visible=true").click()
        tab.get_by_role("row", name="refund_order").get_by_role("link", name="1").click()
        expect(tab.locator(".detail:visible h2")).to_contain_text("refund_order")
        tab.get_by_role("link", name="All traces").locator("visible=true").click()
        expect(tab.get_by_role("link", name="support agent")).to_have_count(2)
