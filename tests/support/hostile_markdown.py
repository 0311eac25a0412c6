"""Texts that would run script, or send a request to another server, if a page trusted them, and traces full of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import shop_traces as shop
from local_http import http_of
from pandaprobe_otel.local import LocalServer

SCRIPT: Final = "window.ran=1"
ELSEWHERE: Final = "http://elsewhere.test/x"

HOSTILE: Final = (
    f"<script>{SCRIPT}</script>",
    f"<img src=x onerror={SCRIPT}>",
    f"<svg onload={SCRIPT}>",
    f"<iframe src=javascript:{SCRIPT}></iframe>",
    f"<details open ontoggle={SCRIPT}>",
    f"<style>@import '{ELSEWHERE}';</style>",
    f"[a](javascript:{SCRIPT})",
    f"[a](JaVaScRiPt:{SCRIPT})",
    f"[a](java&#x0A;script:{SCRIPT})",
    f"[a](&#106;avascript:{SCRIPT})",
    f"[a](\x01javascript:{SCRIPT})",
    f"[a](vbscript:{SCRIPT})",
    "[a](data:text/html;base64,PHNjcmlwdD53aW5kb3cucmFuPTE8L3NjcmlwdD4=)",
    "[a](//elsewhere.test/x)",
    "[a](/ui/sign-out)",
    f"[a]: javascript:{SCRIPT}\n\n[a]",
    f"<javascript:{SCRIPT}>",
    f"<{ELSEWHERE}>",
    f"![p]({ELSEWHERE})",
    f"![p](javascript:{SCRIPT})",
    f'![p]({ELSEWHERE} "t" onerror={SCRIPT})',
    f"[![p]({ELSEWHERE})](javascript:{SCRIPT})",
    f"```html\n<script>{SCRIPT}</script>\n```",
    f'```"><script>{SCRIPT}</script>\ncode\n```',
    f"```js onclick={SCRIPT}\ncode\n```",
    f"| a |\n|---|\n| <img src=x onerror={SCRIPT}> |",
    f"# <a href=javascript:{SCRIPT}>h</a>",
    f"> <form action={ELSEWHERE}><input autofocus onfocus={SCRIPT}>",
    f"~~<b style=background:url({ELSEWHERE})>b</b>~~",
    f'[t](https://x.test "\\"><script>{SCRIPT}</script>")',
    f"`<script>{SCRIPT}</script>` **b**",
    f"<base href={ELSEWHERE}><meta http-equiv=refresh content='0;url={ELSEWHERE}'>**b**",
    f"<math><mtext><table><mglyph><style><img src=x onerror={SCRIPT}>**b**",
    "&lt;script&gt;window.ran=1&lt;/script&gt; **b**",
    f"</pre></textarea></title></script><script>{SCRIPT}</script>",
    f"\" autofocus onfocus=\"{SCRIPT}\" x=' onmouseover='{SCRIPT}' {{{{7*7}}}} {{%if%}}<!--",
)

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
        groups = [one["fingerprint"] for one in http.get("/local/failures").json()["items"]]
    spans = [str(UUID(int=UUID(TRACE).int << 64 | UUID(span).int)) for span in SPANS]
    return [
        "/ui",
        *(f"/ui/traces/{TRACE}?view={view}" for view in ("timeline", "chat", "tools", "scores", "json")),
        *(f"/ui/traces/{TRACE}?span={span}" for span in spans),
        f"/ui/session?id={quote(session)}",
        "/ui/sessions",
        f"/ui/diff?trace={TRACE}&trace={OTHER}",
        f"/ui/selected?trace={TRACE}&trace={OTHER}",
        "/ui/overview",
        "/ui/evaluations",
        "/ui/failures",
        *(f"/ui/failures/{group}" for group in groups),
    ]
