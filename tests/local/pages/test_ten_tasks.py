"""Ten tasks of a new user, in a browser that counts actions: each takes at most five clicks, or one search."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import shop_traces
from chromium import chromium
from command_line import clean_environment, run_command_line
from pandaprobe_otel.local import LocalServer
from shop_pages import http_of
from waiting import wait_until
from watched_tabs import DESK_WIDTH, Watched

pytestmark = pytest.mark.outer

DAYS: Final = 13
RELEASES: Final = ("2.3.1", "2.4.0")
MOST_CLICKS: Final = 5
COUNTING: Final = """
addEventListener("pointerdown", (event) => event.isTrusted && counted("click"), true)
addEventListener("keydown", (event) => {
    if (!event.isTrusted || event.key !== "Enter") return
    counted(event.target.matches("input[type=search]") ? "search" : "click")
}, true)
"""
"""A script in each page that counts a user's actions: Enter counts as a search in a search field, else as a click."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The server with two weeks of conversations in two releases, with a client of its API."""

    server: LocalServer
    http: httpx.Client
    folder: Path

    def items(self, path: str) -> list[dict[str, Any]]:
        """Return all items of a paginated list."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.http.get(path, params={"limit": 100, "offset": len(found)}).raise_for_status().json()
            found += answer["items"]
            if len(found) >= answer["total"]:
                return found

    def traces(self) -> Iterator[dict[str, Any]]:
        """Yield all traces with their spans."""
        for one in self.items("/traces"):
            yield self.http.get(f"/traces/{one['trace_id']}").raise_for_status().json()


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Yield the browser of this file."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield the server, with everything sealed."""
    with LocalServer(limit=None, scripted_judge=True) as running:
        shop_traces.fill(running, days=DAYS, releases=RELEASES, recalls=False)
        running.services.sealer.seal_now()
        yield running


@pytest.fixture
def shop(server: LocalServer, tmp_path: Path) -> Generator[Shop]:
    """Yield the shop."""
    with http_of(server) as http:
        yield Shop(server=server, http=http, folder=tmp_path)


@pytest.fixture
def counts() -> Counter[str]:
    """Return the counter of clicks and searches in the tab."""
    return Counter()


@pytest.fixture
def tab(browser: Browser, server: LocalServer, counts: Counter[str]) -> Generator[Page]:
    """Yield a tab that counts actions, at the page that a new user opens."""
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": DESK_WIDTH, "height": 900},
        permissions=["clipboard-read", "clipboard-write"],
        accept_downloads=True,
    )
    context.set_default_timeout(20_000)
    context.expose_function("counted", lambda what: counts.update([what]))
    context.add_init_script(COUNTING)
    with Watched(context) as page:
        page.goto("/ui")
        yield page


def menu(tab: Page, name: str) -> None:
    """Click a page in the menu."""
    tab.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()


def rows_below(tab: Page, heading: str) -> dict[str, list[str]]:
    """Return the cells of the table below a heading, by their first cell; the heading must be visible."""
    title = tab.get_by_role("heading", name=heading, exact=True)
    title.scroll_into_view_if_needed()
    expect(title).to_be_visible()
    lines = tab.locator(f"h2:text-is('{heading}') + table tbody tr").all()
    cells = [line.locator("td").all_inner_texts() for line in lines]
    return {first: others for first, *others in cells}


def count_of(tab: Page) -> Locator:
    """Return the number beside the heading of a list."""
    return tab.locator("h1 .count")


def find_the_slow_tool(tab: Page, shop: Shop) -> None:
    """The overview times each tool; the slowest one is the slowest by its spans, and links to its traces."""
    times: dict[str, list[float]] = {}
    for span in (span for trace in shop.traces() for span in trace["spans"] if span["kind"] == "TOOL"):
        times.setdefault(span["name"], []).append(span["latency_ms"])
    p95 = {name: sorted(all_ms)[math.ceil(0.95 * len(all_ms)) - 1] for name, all_ms in times.items()}
    slowest = max(p95, key=p95.__getitem__)

    menu(tab, "Overview")
    rows = rows_below(tab, "By tool")
    shown = {name: cells[5] for name, cells in rows.items()}
    assert shown.keys() == p95.keys()
    assert shown[slowest] == f"{p95[slowest] / 1000:.2f} s"
    assert max(shown, key=lambda name: _milliseconds(shown[name])) == slowest
    tab.get_by_role("link", name=slowest).click()
    expect(count_of(tab)).to_have_text(str(len(times[slowest])))  # each trace calls the tool once


def compare_two_releases(tab: Page, shop: Shop) -> None:
    """The overview shows traces and errors of both releases; `test_overview.py` has the other columns."""
    menu(tab, "Overview")
    rows = rows_below(tab, "By release")
    assert rows.keys() == set(RELEASES)
    traces = shop.items("/traces")
    for release in RELEASES:
        own = [trace for trace in traces if trace["release"] == release]
        count, errors, *_ = rows[release]
        assert int(count) == len(own)
        assert int(errors) == sum(trace["status"] == "ERROR" for trace in own)


def annotate_a_trace(tab: Page, shop: Shop) -> None:
    """A score from 1 to 5 with a note is stored as an annotation."""
    tab.get_by_role("link", name="support agent").first.click()
    tab.get_by_role("link", name="Scores").click()
    tab.get_by_role("radio", name="4").click()
    tab.get_by_label("Note").click()
    tab.keyboard.type("Polite, but the date is missing.")
    tab.get_by_role("button", name="Save").click()
    expect(tab.get_by_role("status")).to_contain_text("quality = 0.75")
    newest = shop.items("/traces")[0]["trace_id"]
    scores = shop.http.get(f"/evaluations/trace-scores/{newest}").json()
    assert [(one["value"], one["reason"]) for one in scores if one["source"] == "ANNOTATION"] == [
        ("0.75", "Polite, but the date is missing.")
    ]


def make_a_test_of_a_failure(tab: Page, shop: Shop) -> None:
    """The page of a failure has a command that writes a test of the failure; the copied command works."""
    menu(tab, "Failures")
    tab.get_by_role("link", name="Timeout in refund_order").click()
    tab.get_by_role("button", name="Copy: Make a test").click()
    expect(tab.locator(".copied")).to_be_visible()
    command = shlex.split(tab.evaluate("navigator.clipboard.readText()"))
    assert command[:2] == ["pandaprobe-otel", "capture"]
    environment = clean_environment(shop.folder, PANDAPROBE_API_KEY=shop.server.api_key)
    done = run_command_line(*command[1:], environment=environment, cwd=shop.folder)
    assert done.returncode == 0, done.stderr
    [test] = shop.folder.glob("tests/**/test_*.py")
    assert "def test_" in test.read_text(encoding="utf-8")


def find_a_phrase_of_a_customer(tab: Page, shop: Shop) -> None:
    """A search for a phrase lists the traces whose spans contain it, and no others."""
    said = [trace["trace_id"] for trace in shop.traces() if "birthday present" in json.dumps(trace)]
    tab.keyboard.press("/")
    tab.keyboard.type('"birthday present"')
    tab.keyboard.press("Enter")
    expect(count_of(tab)).to_have_text(str(len(said)))
    assert 0 < len(said) < len(shop.items("/traces"))
    found = tab.locator("[data-row]").evaluate_all("rows => rows.map(row => row.dataset.id)")
    assert set(found) <= set(said)


def see_why_a_trace_failed(tab: Page, shop: Shop) -> None:
    """A facet limits the list to failed traces; the newest of them starts with its error and the failed span."""
    tab.locator("[data-key=status] [data-facet]", has_text="ERROR").click()
    failed = [trace for trace in shop.items("/traces") if trace["status"] == "ERROR"]
    expect(count_of(tab)).to_have_text(str(len(failed)))
    tab.get_by_role("link", name="support agent").first.click()
    tab.wait_for_url(f"**/traces/{failed[0]['trace_id']}*")
    error = tab.locator("#detail .error-list a")
    expect(error).to_contain_text("refund_order")
    expect(error).to_contain_text("RuntimeError: payment service timed out: 8.0 s")
    expect(error).to_be_in_viewport()


def read_a_whole_conversation(tab: Page, shop: Shop) -> None:
    """A session shows its turns in order, each with question and answer."""
    menu(tab, "Sessions")
    session = next(one for one in shop.items("/sessions") if one["trace_count"] == 3)
    tab.get_by_role("link", name=session["session_id"], exact=True).click()
    turns = tab.locator(".turn")
    expect(turns).to_have_count(3)
    for turn, (asked, _, answered) in zip(turns.all(), shop_traces.CONVERSATIONS[0].turns, strict=True):
        expect(turn).to_contain_text(asked)
        expect(turn).to_contain_text(answered.replace("**", ""))


def evaluate_two_traces(tab: Page, shop: Shop) -> None:
    """Two chosen traces are judged, and each gets a score."""
    newest = [trace["trace_id"] for trace in shop.items("/traces")[:2]]
    for number in range(2):
        tab.get_by_role("checkbox", name="Choose").nth(number).click()
    tab.get_by_role("button", name="Act on the selected").click()
    tab.get_by_role("checkbox", name="confidence").click()
    tab.get_by_role("button", name="Evaluate").click()
    expect(tab.get_by_role("status")).to_contain_text("confidence of 2 traces started")
    [run] = shop.items("/evaluations/trace-runs")
    wait_until(lambda: shop.http.get(f"/evaluations/trace-runs/{run['id']}").json()["status"] == "COMPLETED")
    for trace_id in newest:
        scores = shop.http.get(f"/evaluations/trace-scores/{trace_id}").json()
        assert [one["status"] for one in scores if one["name"] == "confidence"] == ["SUCCESS"]


def watch_production(tab: Page, shop: Shop) -> None:
    """A new monitor evaluates new traces every day."""
    menu(tab, "Monitors")
    tab.get_by_label("Name", exact=True).click()
    tab.keyboard.type("production")
    tab.get_by_role("checkbox", name="task_completion").click()
    tab.get_by_role("button", name="Make").click()
    expect(tab.get_by_role("row", name="production")).to_contain_text("daily")
    [monitor] = shop.items("/evaluations/monitors")
    assert (monitor["name"], monitor["metric_names"], monitor["status"]) == (
        "production",
        ["task_completion"],
        "ACTIVE",
    )


def give_a_trace_to_a_colleague(tab: Page, shop: Shop) -> None:
    """A trace is exported as one file, which opens without the server."""
    newest = shop.items("/traces")[0]
    tab.get_by_role("link", name="support agent").first.click()
    tab.get_by_role("link", name="Act", exact=True).click()
    with tab.expect_download() as saving:
        tab.get_by_role("link", name="One page").click()
    path = shop.folder / "traces.html"
    saving.value.save_as(path)
    tab.goto(path.as_uri())
    expect(tab.locator("code", has_text=newest["trace_id"]).first).to_be_visible()
    expect(tab.get_by_role("treeitem", name="chat gpt-5-mini").first).to_be_visible()


TASKS: Final[tuple[Callable[[Page, Shop], None], ...]] = (
    find_the_slow_tool,
    compare_two_releases,
    annotate_a_trace,
    make_a_test_of_a_failure,
    find_a_phrase_of_a_customer,
    see_why_a_trace_failed,
    read_a_whole_conversation,
    evaluate_two_traces,
    watch_production,
    give_a_trace_to_a_colleague,
)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_a_task_takes_five_clicks_or_one_search(
    tab: Page, shop: Shop, counts: Counter[str], task: Callable[[Page, Shop], None]
) -> None:
    """Each task starts at the list of traces and stays within the limit of counted actions."""
    task(tab, shop)

    clicks, searches = counts["click"], counts["search"]
    assert clicks + searches > 0, "nothing was counted"
    assert (searches == 0 and clicks <= MOST_CLICKS) or (searches == 1 and clicks == 0), dict(counts)


def _milliseconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"s": 1000, "ms": 1}[unit]
