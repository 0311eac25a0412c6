"""The pages in a real browser: by mouse and keyboard, in light and dark, on a phone, and checked with axe.

One server and one browser serve the whole file: Playwright keeps an event loop in this thread while it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import shop_traces as shop
from chromium import chromium
from hostile_markdown import HOSTILE as HOSTILE_MARKDOWN
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.from_file import load, records_of
from pandaprobe_otel.local.pages.document import html_document
from pandaprobe_otel.transport.trace_file import read_entries
from rings import IN_FULL
from shop_pages import DAYS, PER_DAY, PICTURE, all_pages, http_of, newest, open_shop, span_of, wait_for_run
from watched_tabs import DESK_WIDTH, PHONE_WIDTH, THEMES, Theme, Watched, found_by_axe

RAN = "window.ran = (window.ran || 0) + 1"


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


SEEN_MOST = ("trace", "conversation", "evaluations")


def test_the_main_pages_are_accessible(browser: Browser, server: LocalServer) -> None:
    """Axe finds nothing on the main pages, and no faint colour in dark mode; `test_every_page.py` covers all pages."""
    found: dict[str, list[str]] = {}
    pages = all_pages(server)
    with Watched(browser.new_context(base_url=server.url, color_scheme="light")) as tab:
        for name in SEEN_MOST:
            tab.goto(pages[name])
            assert tab.locator("h1").count() == 1, name
            found[f"{name}, light"] = found_by_axe(tab)
    with Watched(browser.new_context(base_url=server.url, color_scheme="dark")) as tab:
        for name in SEEN_MOST:
            tab.goto(pages[name])
            found[f"{name}, dark"] = found_by_axe(tab, runOnly=["color-contrast"])
    assert {name: violations for name, violations in found.items() if violations} == {}


def test_axe_would_find_something(page: Page) -> None:
    """Axe reports a picture without alternative text, so the check itself works."""
    page.goto("/ui/monitors")
    page.evaluate("document.querySelector('main').append(new Image())")
    assert [one.split(":")[0] for one in found_by_axe(page)] == ["image-alt"]


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


def test_every_page_fits_a_phone(browser: Browser, server: LocalServer) -> None:
    """No page is wider than a phone, and taps on a phone open a span and return to the tree."""
    context = browser.new_context(base_url=server.url, viewport={"width": PHONE_WIDTH, "height": 844}, has_touch=True)
    widths: dict[str, int] = {}
    with Watched(context) as tab:
        for name, path in all_pages(server).items():
            tab.goto(path)
            widths[name] = tab.evaluate("document.documentElement.scrollWidth")
        assert {name: width for name, width in widths.items() if width > PHONE_WIDTH} == {}
        tab.goto(f"/ui/traces/{newest()[3]}")
        tab.get_by_role("treeitem", name="refund_order").tap()
        expect(tab.locator("#detail h2")).to_contain_text("refund_order")
        expect(tab.locator("#detail h2")).to_be_in_viewport()
        tab.get_by_role("link", name="All spans").tap()
        expect(tab.locator("#spans")).to_be_in_viewport()


def test_the_list_beside_a_running_agent(browser: Browser) -> None:
    """While an agent runs, the list keeps its width, and a phone shows time, tokens and cost of each trace."""
    with LocalServer(limit=None) as server, http_of(server, "live") as http:
        call = {"span_id": str(UUID(int=9)), "name": "chat", "kind": "LLM", "started_at": "2026-01-02T03:04:05Z"}
        spans = [{**call, "token_usage": {"prompt_tokens": 1234}, "cost": {"total": 0.25}}]
        moments = {"started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:04:07Z"}
        http.post("/traces", json={"trace_id": str(UUID(int=1)), "name": "done", "spans": spans, **moments})
        server.services.sealer.seal_now()
        begun = {"span_id": str(UUID(int=3)), "name": "busy", "kind": "AGENT", "started_at": "2026-01-02T03:04:08Z"}
        http.post("/local/live", json=[{"k": "b", "trace_id": str(UUID(int=2)), "span": begun}]).raise_for_status()
        for width, least in ((DESK_WIDTH, 0.75 * DESK_WIDTH), (PHONE_WIDTH, 0.9 * PHONE_WIDTH)):
            context = browser.new_context(base_url=server.url, viewport={"width": width, "height": 844})
            with Watched(context) as tab:
                tab.goto("/ui")
                expect(tab.locator(".running")).to_contain_text("busy")
                for part in (".running", ".listing"):
                    box = tab.locator(part).bounding_box()
                    assert box is not None
                    assert box["width"] > min(least, width - 240), (part, width)
                row = tab.locator(".trace-row").first
                for text in ("2.00 s", "1\u202f234", "$0.25"):
                    expect(row.get_by_text(text)).to_be_visible()


def test_a_way_through_all_pages(page: Page) -> None:
    """Links lead from the list to a trace, its spans and views, its session, a comparison, evaluations and monitors."""
    page.goto("/ui")
    page.get_by_role("link", name="support agent").nth(2).click()
    expect(page.locator("#detail")).to_contain_text("RuntimeError: payment service timed out")
    page.get_by_role("treeitem", name="refund_order").click()
    expect(page.locator("#detail .error-box")).to_contain_text("payment service timed out")
    assert page.url.endswith(f"?span={span_of(3, 5)}")
    page.get_by_role("treeitem", name="chat gpt").first.click()
    expect(page.locator("#detail")).to_contain_text("3 of 5 called")
    page.get_by_role("link", name="Conversation").click()
    expect(page.locator(".chat")).to_contain_text("refund_order")
    page.get_by_role("link", name="Tools").click()
    expect(page.get_by_role("row", name="search_help_center")).to_be_visible()
    page.get_by_role("link", name="Scores").click()
    expect(page.locator("main")).to_contain_text("The refund was asked for and not booked.")
    page.get_by_role("link", name="JSON", exact=True).first.click()
    page.go_back()
    page.get_by_role("link", name="session chat-").click()
    expect(page.locator(".turn")).to_have_count(2)
    page.get_by_role("navigation").get_by_role("link", name="Sessions").click()
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Traces").click()
    for number in range(2):
        page.get_by_role("checkbox", name="Choose").nth(number).check()
    page.get_by_role("button", name="Compare 2 of 2").click()
    expect(page.locator("main")).to_contain_text("B against A")
    page.get_by_role("link", name="Evaluations").click()
    expect(page.get_by_role("img", name="Average task_completion")).to_be_visible()
    page.get_by_role("link", name="after the new prompt").click()
    expect(page.locator("main")).to_contain_text("confidence")
    page.get_by_role("link", name="Monitors").click()
    expect(page.get_by_role("row", name="production")).to_contain_text("daily")


def test_the_filters(page: Page) -> None:
    """A chosen status filters at once, and a text filters once it is sent; a link removes the filter."""
    page.goto("/ui")
    page.get_by_label("Status").select_option("ERROR")
    expect(page.locator(".trace-row")).to_have_count(DAYS + 1)
    page.get_by_role("textbox", name="User").fill("aiko.tanaka")
    page.get_by_role("textbox", name="User").press("Enter")
    expect(page.locator("main")).to_contain_text("No trace fits these filters.")
    page.get_by_role("link", name="Clear").click()
    expect(page.locator(".trace-row")).to_have_count((DAYS + 1) * PER_DAY)


@pytest.mark.outer
@pytest.mark.exhaustive
def test_facets_completion_and_views(browser: Browser, server: LocalServer) -> None:
    """A click adds a facet, Alt-click excludes it; keyboard and mouse complete a search, which can be saved."""
    with Watched(browser.new_context(base_url=server.url)) as tab:
        tab.goto("/ui")
        facet = tab.locator("[data-facet]").first
        label = facet.locator("span").inner_text()
        facet.click()
        expect(tab.locator("[data-facet][aria-current]")).to_have_count(1)
        expect(tab.locator("[data-search]")).to_have_value(re.compile(f":.*{re.escape(label)}"))
        tab.goto("/ui")
        tab.locator("[data-facet]").first.click(modifiers=["Alt"])
        expect(tab.locator("[data-search]")).to_have_value(re.compile("^-"))
        tab.goto("/ui")
        field = tab.get_by_role("combobox", name="Search")
        field.press_sequentially("mod")
        expect(tab.locator("#completed li")).to_have_count(1)
        assert found_by_axe(tab) == []
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
        tab.locator("[data-views] summary").click()
        tab.get_by_label("Name of this view").fill("mine")
        tab.get_by_role("button", name="Save").click()
        tab.goto("/ui")
        tab.locator("[data-views] summary").click()
        tab.get_by_role("link", name="mine").click()
        expect(tab.locator("[data-search]")).to_have_value(f"{chosen} ")
    with Watched(browser.new_context(base_url=server.url, viewport={"width": PHONE_WIDTH, "height": 800})) as tab:
        tab.goto("/ui")
        expect(tab.locator("[data-facet]").first).to_be_hidden()
        tab.locator(".facet-list summary").click()
        expect(tab.locator("[data-facet]").first).to_be_visible()


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


def test_without_scripts(browser: Browser, server: LocalServer) -> None:
    """Without scripts, links and forms still do everything essential."""
    with Watched(browser.new_context(base_url=server.url, java_script_enabled=False)) as tab:
        tab.goto("/ui?status=ERROR")
        tab.get_by_role("link", name="support agent").first.click()
        tab.get_by_role("treeitem", name="refund_order").click()
        expect(tab.locator("#detail .error-box")).to_contain_text("timed out")


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


def test_two_thousand_spans_can_be_worked_with(page: Page, server: LocalServer) -> None:
    """A trace of 2,000 spans opens with every span, folds, finds text, and shows the details of the selected span."""
    with http_of(server) as http:
        long = shop.send_long_trace(http)
        try:
            page.goto(f"/ui/traces/{long}")
            assert page.locator(".node").count() == 2001
            page.get_by_role("button", name="Fold", exact=True).click()
            assert page.locator(".node:visible").count() == 2
            page.get_by_role("button", name="Unfold").click()
            page.locator(".node").last.click()
            expect(page.locator("#detail h2")).to_contain_text("look_up_order")
            page.get_by_label("Find in spans").fill("step 17")
            page.get_by_label("Find in spans").press("Enter")
            expect(page.locator(".find .count")).to_have_text("11")
        finally:
            http.delete(f"/traces/{long}")


def test_with_a_token_the_pages_open_after_signing_in(browser: Browser) -> None:
    """A server with auth asks for its token in a form, then shows the pages."""
    with (
        LocalServer(auth=True, token="open sesame") as server,
        Watched(browser.new_context(base_url=server.url)) as tab,
    ):
        tab.goto("/ui/evaluations")
        tab.get_by_label("Token").fill("open sesame")
        tab.keyboard.press("Enter")
        expect(tab.locator("main")).to_contain_text("No traces yet")


HOSTILE = (
    f"</pre></textarea></title></script><script>{RAN}</script><img src=x onerror='{RAN}'>"
    f"<svg onload='{RAN}'></svg><iframe srcdoc=\"<script>parent.{RAN[7:]}</script>\"></iframe>"
    f"\" autofocus onfocus=\"{RAN}\" x=' onmouseover='{RAN}' <a href='javascript:{RAN}'>link</a> {{{{7*7}}}} {{%if%}}"
)


def hostile_bodies() -> list[dict[str, Any]]:
    """Return two traces with a script in every text field."""
    short = HOSTILE[:250]
    text = {"role": HOSTILE, "name": HOSTILE, "content": [{"type": "text", "text": HOSTILE}, {HOSTILE: HOSTILE}]}
    call = {"function": {"name": HOSTILE, "arguments": HOSTILE}}
    return [
        {
            "trace_id": str(UUID(int=number + 1)),
            "name": HOSTILE,
            "started_at": shop.SOME_TIME.isoformat(),
            "ended_at": shop.SOME_TIME.isoformat(),
            **dict.fromkeys(("session_id", "user_id", "environment", "release"), short),
            "tags": [HOSTILE],
            "metadata": {HOSTILE: [HOSTILE]},
            "input": {"messages": [text]},
            "output": HOSTILE,
            "spans": [
                {
                    "span_id": str(UUID(int=16 * number + position + 1)),
                    "name": HOSTILE,
                    "kind": kind,
                    "status": "ERROR",
                    "error": HOSTILE,
                    "model": short,
                    "started_at": shop.SOME_TIME.isoformat(),
                    "input": {"messages": [text], "tools": [{"name": HOSTILE, "description": HOSTILE}]},
                    "output": {"messages": [{"role": "assistant", "content": HOSTILE, "tool_calls": [call]}]},
                    "token_usage": {HOSTILE: HOSTILE},
                    "cost": {"total": 1.0},
                    "model_parameters": {HOSTILE: HOSTILE},
                    "metadata": {HOSTILE: HOSTILE, "tools": [{"name": HOSTILE, "description": HOSTILE}]},
                }
                for position, kind in enumerate(("AGENT", "LLM", "TOOL", "OTHER"))
            ],
        }
        for number in range(2)
    ]


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


def test_script_in_a_trace_is_never_run(browser: Browser) -> None:
    """With a script in every field of traces, scores, runs and monitors, every page shows the text and runs none."""
    with LocalServer(limit=None, scripted_judge=True) as server, http_of(server) as http:
        ids = [body["trace_id"] for body in hostile_bodies()]
        for body in hostile_bodies():
            http.post("/traces", json=body).raise_for_status()
        score = {
            "trace_id": ids[0],
            "name": HOSTILE[:250],
            "value": "0.1",
            "reason": HOSTILE,
            "metadata": {"a": HOSTILE},
        }
        http.post("/evaluations/trace-scores", json=score).raise_for_status()
        server.judge.set("confidence", 0.1, reason=HOSTILE)
        run = {"trace_ids": ids, "metrics": ["confidence"], "name": HOSTILE[:250], "model": HOSTILE[:250]}
        run_id = wait_for_run(http, http.post("/evaluations/trace-runs/batch", json=run))
        monitor = {"name": HOSTILE[:250], "target_type": "TRACE", "metrics": ["confidence"], "cadence": "daily"}
        http.post("/evaluations/monitors", json={**monitor, "filters": {"name": HOSTILE}}).raise_for_status()
        bad = quote(HOSTILE)
        paths = ["/ui", f"/ui?tag={bad}&q={bad}", "/ui/sessions", f"/ui/session?id={quote(HOSTILE[:250])}"]
        paths += [f"/ui/traces/{ids[0]}?view={view}" for view in ("timeline", "chat", "tools", "scores", "json")]
        paths += [f"/ui/diff?trace={ids[0]}&trace={ids[1]}", "/ui/evaluations", f"/ui/runs/{run_id}", "/ui/monitors"]
        with Watched(browser.new_context(base_url=server.url)) as tab:
            tab.goto("/ui")
            assert tab.evaluate(f"{RAN}; window.ran") == 1, "the test does not detect the script"
            for path in paths:
                tab.goto(path)
                assert tab.evaluate("window.ran") is None, path
                assert "onerror" in tab.locator("main").inner_text() or path == "/ui/evaluations", f"{path} shows it"
            tab.goto(f"/ui/traces/{ids[0]}")
            for position in range(4):
                tab.locator(".node").nth(position + 1).click()
                tab.locator(f'#detail code:text-is("{UUID(int=position + 1)}")').wait_for()
                tab.locator("#detail").hover()
                assert tab.evaluate("window.ran") is None


def test_times_are_those_of_the_reader(browser: Browser) -> None:
    """A trace that started at 15:00 in London started at midnight in Tokyo, on the next day; the tooltip has UTC."""
    body = {"trace_id": str(UUID(int=99)), "name": "late", "started_at": "2026-01-02T15:00:00Z"}
    with LocalServer(limit=None) as other, http_of(other) as http:
        http.post("/traces", json=body).raise_for_status()
        with Watched(browser.new_context(base_url=other.url, timezone_id="Asia/Tokyo")) as tab:
            tab.goto(f"/ui/traces/{body['trace_id']}")
            expect(tab.locator(".facts .when")).to_have_text("00:00:00.0002026-01-03")
            expect(tab.locator(".facts time").first).to_have_attribute("title", "2026-01-02 15:00:00.000 UTC")


def test_content_cannot_run_or_load_anything(browser: Browser) -> None:
    """Hostile Markdown does nothing even if the browser ignores the content policy; a picture is shown."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": source} for source in HOSTILE_MARKDOWN]
    messages.append({"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]})
    messages.append(
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "look_up", "arguments": "{}"}}]}
    )
    messages.append({"role": "tool", "tool_call_id": "c1", "content": "{'state': 'lost'}"})
    span = {"span_id": str(UUID(int=2)), "name": "chat", "kind": "LLM", "started_at": shop.SOME_TIME.isoformat()}
    body = {
        "trace_id": str(UUID(int=1)),
        "name": "strangers",
        "started_at": shop.SOME_TIME.isoformat(),
        "input": "**bold** " + HOSTILE_MARKDOWN[0],
        "spans": [{**span, "input": {"messages": messages}, "output": "\n\n".join(HOSTILE_MARKDOWN)}],
    }
    with LocalServer(limit=None) as server, http_of(server) as http:
        http.post("/traces", json=body).raise_for_status()
        with Watched(browser.new_context(base_url=server.url, bypass_csp=True)) as tab:
            for view in ("?view=chat", f"?span={UUID(int=2)}", ""):
                tab.goto(f"/ui/traces/{UUID(int=1)}{view}")
                assert tab.evaluate("window.ran") is None
            tab.goto(f"/ui/traces/{UUID(int=1)}?view=chat")
            picture = tab.get_by_role("img", name="image/gif")
            picture.scroll_into_view_if_needed()
            expect(picture).to_have_js_property("naturalWidth", 1)
            expect(tab.locator(".call", has_text="look_up").locator(".call-result")).to_contain_text("lost")
            assert found_by_axe(tab) == []


def exported(bodies: list[dict[str, Any]], path: Path) -> str:
    """Write traces into one HTML file, as the command `view` does, and return the file's address."""
    path.with_suffix(".jsonl").write_text("".join(f"{json.dumps(body)}\n" for body in bodies), encoding="utf-8")
    with LocalServer(limit=None) as server:
        assert load(server, read_entries(path.with_suffix(".jsonl"))) == []
        records, _ = records_of(server, 10)
    path.write_text(html_document(records, path.name), encoding="utf-8")
    return path.as_uri()


def test_an_exported_file_works_without_a_server(browser: Browser, tmp_path: Path) -> None:
    """The file opens from disk: list, trace, span, views, search and copying work; axe finds nothing."""
    turns = ((0, 0), (1, 0))
    bodies = [shop.shop_trace(10 + n, *turn, shop.SOME_TIME, "chat-1") for n, turn in enumerate(turns)]
    address = exported(bodies, tmp_path / "traces.html")
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], offline=True)
    with Watched(context) as tab:
        tab.goto(address)
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


def test_script_in_an_exported_trace_is_never_run(browser: Browser, tmp_path: Path) -> None:
    """The exported file shows a script in every field and runs none, although its own script is inline."""
    address = exported(hostile_bodies(), tmp_path / "traces.html")
    with Watched(browser.new_context(offline=True)) as tab:
        tab.goto(address)
        for number in (1, 2):
            tab.goto(f"{address}#t{number}")
            tab.locator("article:visible .node").first.wait_for()
            for node in tab.locator("article:visible .node").all():
                node.click()
                expect(tab.locator(".detail:visible")).to_contain_text("onerror")
            for name in ("Conversation", "Tools", "Scores", "JSON"):
                tab.get_by_role("link", name=name).locator("visible=true").click()
            assert tab.evaluate("window.ran") is None


PERMISSIONS = ["clipboard-read", "clipboard-write"]
SCREENS = {"desktop": DESK_WIDTH, "phone": PHONE_WIDTH}


@pytest.mark.parametrize("colours", [pytest.param(one, marks=IN_FULL) for one in THEMES])
@pytest.mark.parametrize("screen", SCREENS)
def test_a_failure_is_named_muted_and_resolved(
    browser: Browser, server: LocalServer, screen: str, colours: Theme
) -> None:
    """A user renames, mutes and resolves a group of failures and copies a command; axe finds nothing."""
    width = SCREENS[screen]
    context = browser.new_context(
        base_url=server.url, color_scheme=colours, viewport={"width": width, "height": 900}, permissions=PERMISSIONS
    )
    with Watched(context) as tab:
        tab.goto("/ui/failures")
        assert found_by_axe(tab) == []
        tab.get_by_role("link", name="Timeout in refund_order").click()
        assert found_by_axe(tab) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.get_by_label("Name").fill("Payments are down")
        tab.get_by_role("button", name="Rename").click()
        expect(tab.get_by_role("heading", level=1)).to_have_text("Payments are down")
        tab.get_by_label("Mute").select_option("for a week")
        tab.get_by_role("button", name="Mute").click()
        expect(tab.locator(".heading")).to_contain_text("muted")
        tab.get_by_role("button", name="Unmute").click()
        tab.get_by_label("Resolved in release").fill("2.4")
        tab.get_by_role("button", name="Resolve").click()
        expect(tab.locator(".heading")).to_contain_text("in 2.4")
        assert found_by_axe(tab) == []
        tab.get_by_role("link", name="Failures", exact=True).last.click()
        expect(tab.locator("main")).not_to_contain_text("Payments are down")
        tab.get_by_label("State").select_option("Resolved")
        tab.get_by_role("link", name="Payments are down").click()
        tab.get_by_role("button", name="Open again").click()
        tab.get_by_label("Name").fill("")
        tab.get_by_role("button", name="Rename").click()
        tab.get_by_role("button", name="Copy: Make a test").click()
        assert tab.evaluate("navigator.clipboard.readText()").startswith("pandaprobe-otel capture ")
        tab.get_by_role("link", name="support agent").first.click()
        expect(tab.locator("#detail .error-box")).to_contain_text("payment service timed out")
