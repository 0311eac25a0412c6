"""Hostile texts wherever content is shown: no script runs and no request is sent, even without a content policy.

Each text is tried as Markdown, in pictures, in targets and words of links, in code and names of languages, and in keys
and values of JSON, on every page that shows a trace and in an exported file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page

import shop_traces as shop
from chromium import chromium
from hostile_markdown import ELSEWHERE, HOSTILE, SCRIPT
from pandaprobe_otel.local import LocalServer
from rings import IN_FULL
from shop_pages import http_of
from watched_tabs import Watched

pytestmark = pytest.mark.outer

TRACE, OTHER = str(UUID(int=1)), str(UUID(int=2))
SPANS: Final = tuple(str(UUID(int=16 + number)) for number in range(4))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _svg(text: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" onload="{SCRIPT}"><script>{SCRIPT}</script>'
        f'<image href="{ELSEWHERE}"/><foreignObject>{text}</foreignObject></svg>'
    )


def as_markdown(text: str) -> list[Any]:
    """Return the text alone, below a heading and in a list."""
    return [text, f"# {text}\n\n- {text}\n\n> {text}"]


def as_pictures(text: str) -> list[Any]:
    """Return messages with pictures: the text as an address, as SVG or as HTML, in every format, with false types."""
    svg, encoded = _svg(text), _base64(_svg(text))
    addresses = [
        text,
        ELSEWHERE,
        f"javascript:{SCRIPT}",
        f"data:image/svg+xml,{svg}",
        f"data:image/svg+xml,{quote(svg)}",
        f"data:image/svg+xml;base64,{encoded}",
        f"data:image/png;base64,{encoded}",
        f"data:text/html,{text}",
        f"data:text/html;base64,{_base64(text)}",
    ]
    return [
        [
            *({"type": "image_url", "image_url": {"url": address}} for address in addresses),
            {"type": "input_image", "image_url": text},
            {"type": "image", "source": {"type": "base64", "media_type": "image/svg+xml", "data": encoded}},
            {"inline_data": {"mime_type": text, "data": encoded}},
            {"type": "image", "image": {"mime_type": text, "bytes": 7, "sha256": text}},
            {"type": "input_audio", "input_audio": {"data": encoded, "format": text}},
            {"b64_json": encoded},
        ],
        *(f"![{text}]({address})" for address in addresses),
    ]


def as_links(text: str) -> list[Any]:
    """Return the text as the target, the title and the words of links of each form."""
    return [
        f"[{text}]({text})",
        f"[a](<{text}>)",
        f"[a](https://x.test/{text} '{text}')",
        f"[a]: {text}\n\n[a]",
        f"<https://x.test/{text}>",
        f"https://x.test/{text}",
    ]


def as_code(text: str) -> list[Any]:
    """Return the text as code, in a language, and as the name of a language."""
    named = text.replace("`", "").replace("\n", " ")
    return [
        f"```html\n{text}\n```",
        f"```{named}\n{text}\n```",
        f"~~~python\n{text}\n~~~",
        f"`{text}`",
        f"**a**\n\n    {text}",
    ]


def as_json(text: str) -> list[Any]:
    """Return the text in keys and values of JSON and of Python, as parts and as text."""
    value = {text: [text, {text: None}]}
    return [[{"type": text, text: value}], json.dumps(value), repr(value), json.dumps([text])]


PLACES: Final[tuple[Callable[[str], list[Any]], ...]] = (as_markdown, as_pictures, as_links, as_code, as_json)
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


def trace_of(trace_id: str, contents: Sequence[Any]) -> dict[str, Any]:
    """Return a trace with the contents as messages, payloads, arguments, results, documents, errors and names."""
    texts = [one for one in contents if isinstance(one, str)] or [json.dumps(contents[0])]
    number = UUID(trace_id).int << 64
    messages = [{"role": "user", "content": one} for one in contents]
    calls = [
        {"id": f"c{at}", "function": {"name": text[:250], "arguments": text}} for at, text in enumerate(texts[:60])
    ]
    results = [{"role": "tool", "tool_call_id": f"c{at}", "content": text} for at, text in enumerate(texts[:60])]
    thoughts = [{"role": "assistant", "content": "", "reasoning_content": text} for text in texts[:60]]
    documents = [
        {"page_content": text, "score": 0.5, "metadata": {"title": text, "url": text, text: text}} for text in texts
    ]
    moment = shop.SOME_TIME.isoformat()

    def span(at: int, kind: str, **fields: Any) -> dict[str, Any]:
        common = {"span_id": str(UUID(int=number | UUID(SPANS[at]).int)), "started_at": moment, "ended_at": moment}
        return {**common, "kind": kind, "name": texts[at % len(texts)][:250], **fields}

    asked = [*messages, {"role": "assistant", "tool_calls": calls}, *results, *thoughts]
    return {
        "trace_id": trace_id,
        "name": texts[0][:250],
        "status": "ERROR",
        "started_at": moment,
        "ended_at": moment,
        "session_id": texts[0][:200],
        "user_id": texts[-1][:200],
        "tags": [text[:100] for text in texts[:5]],
        "environment": texts[1 % len(texts)][:200],
        "release": texts[2 % len(texts)][:200],
        "metadata": {text: text for text in texts},
        "input": texts[0],
        "output": {"messages": messages[:60]},
        "spans": [
            span(0, "AGENT", input="\n\n".join(texts), output=texts),
            span(1, "LLM", input={"messages": asked}, output={"messages": messages}, model=texts[0][:200]),
            span(2, "TOOL", status="ERROR", error=texts[0], input={text: text for text in texts}, output=texts[-1]),
            span(3, "RETRIEVER", input=texts[0], output=documents, metadata={"reasoning_summary": texts[0]}),
        ],
    }


def addresses(server: LocalServer, session: str) -> list[str]:
    """Return the addresses of all pages that show the trace."""
    with http_of(server) as http:
        groups = [one["fingerprint"] for one in http.get("/local/failures?state=all").json()["items"]]
    spans = [str(UUID(int=UUID(TRACE).int << 64 | UUID(span).int)) for span in SPANS]
    columns = "&".join(f"show={one}" for one in ("tags", "scores", "user", "release", "environment", "answer"))
    return [
        f"/ui?{columns}",
        *(f"/ui/traces/{TRACE}?view={view}" for view in ("timeline", "chat", "tools", "scores", "json")),
        *(f"/ui/traces/{TRACE}?span={span}" for span in spans),
        f"/ui/session?id={quote(session)}",
        "/ui/sessions",
        f"/ui/diff?trace={TRACE}&trace={OTHER}",
        f"/ui/selected?trace={TRACE}&trace={OTHER}",
        f"/ui/annotate?trace={TRACE}",
        "/ui/overview",
        "/ui/evaluations",
        "/ui/failures?state=all",
        *(f"/ui/failures/{group}" for group in groups),
    ]


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
    assert len(HOSTILE) >= 34
    contents = [shown for text in HOSTILE for shown in place(text)]
    bodies = [trace_of(TRACE, contents), trace_of(OTHER, contents[::-1])]
    with LocalServer(limit=None) as server, http_of(server) as http:
        for body in bodies:
            http.post("/traces", json=body).raise_for_status()
        reason = "\n\n".join(one for one in contents if isinstance(one, str))[:4000]
        score = {"trace_id": TRACE, "name": bodies[0]["name"], "value": "0.1", "reason": reason}
        http.post("/evaluations/trace-scores", json={**score, "metadata": bodies[0]["metadata"]}).raise_for_status()
        server.services.sealer.seal_now()
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


def test_the_audit_would_find_it(browser: Browser) -> None:
    """The audit reports each kind of forbidden markup."""
    bad = [
        f'<b onclick="{SCRIPT}">b</b>',
        f'<a href="javascript:{SCRIPT}">a</a>',
        '<a href="//elsewhere.test/x">a</a>',
        '<img src="https://elsewhere.test/x">',
        f'<img src="data:image/svg+xml;base64,{_base64(_svg(""))}">',
        '<iframe srcdoc="a"></iframe>',
        f'<button formaction="javascript:{SCRIPT}">b</button>',
        '<p style="color:red">p</p>',
    ]
    page = browser.new_page()
    page.route("**/*", lambda route: route.abort())
    for markup in bad:
        page.set_content(f"<main>{markup}</main>")
        assert page.evaluate(AUDIT) != [], markup
    page.set_content('<main><a href="https://x.test">a</a><a href="/ui?q=b">b</a></main>')
    assert page.evaluate(AUDIT) == []
    page.close()
