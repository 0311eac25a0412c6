"""Markdown as HTML that is safe to show.

Models write Markdown and repeat texts of strangers, so two libraries protect the page. The parser passes no HTML
through and produces no images and only four kinds of links. The sanitizer then removes all tags except a short list.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MAX_SOURCE: Final = 32_000
"""Longest text, in characters, that is parsed as Markdown. Longer texts are shown unchanged.

The worst known text takes 0.6 s at this length, and 4.5 s at seven times this length.
"""
MAX_PAGE: Final = 256_000
"""Maximum number of characters that a page parses as Markdown, so that a trace of many bad texts takes seconds, not
minutes.
"""
_left: ContextVar[int | None] = ContextVar("markdown_left", default=None)
_MAX_CODE: Final = 50_000
_KEPT: Final = 512
"""Maximum number of texts whose HTML is cached, since pages reload while traces arrive."""
_LINKS: Final = re.compile(r"(?:https?://|mailto:|#)", re.IGNORECASE)
_CLASSES: Final = re.compile(r"(?:language-[\w+#.-]{1,30}|h-[a-z0-9]{1,4})", re.ASCII)
_ATTRIBUTES: Final[dict[str, set[str]]] = {
    **{tag: set() for tag in ("blockquote", "br", "del", "em", "hr", "p", "pre", "s", "strong", "ul", "li")},
    **{tag: set() for tag in ("table", "tbody", "td", "th", "thead", "tr")},
    "a": {"href", "title"},
    "code": {"class"},
    "ol": {"start"},
    "span": {"class"},
}
"""Accepted tags, with the accepted attributes of each."""
_PLAIN: Final = re.compile(r"</?p>|<br ?/?>\n?|\n")
_TAG: Final = re.compile(r"<[^>]*>")
_MARKS: Final = re.compile(r"[*_`#~|<\[\]>]|^\s*(?:[-+]|\d+[.)])\s|^(?: {4}|\t)|^-{3,}|^={3,}", re.MULTILINE)
"""Characters without which a text has no Markdown. Most texts have none and skip the parser."""


@contextmanager
def page_of_markdown() -> Generator[None]:
    """Limit the Markdown parser, inside the block, to `MAX_PAGE` characters for all texts of a page."""
    token = _left.set(MAX_PAGE)
    try:
        yield
    finally:
        _left.reset(token)


def rich_text(text: str) -> Markup | None:
    """Return the HTML of a Markdown text; None if it is plain text, too long, or above the page's limit."""
    if len(text) > MAX_SOURCE or _MARKS.search(text) is None:
        return None
    left = _left.get()
    if left is not None:
        if len(text) > left:
            return None
        _left.set(left - len(text))
    return _html(text)


@lru_cache(maxsize=_KEPT)
def _html(text: str) -> Markup | None:
    import nh3

    html = nh3.clean(
        _parser().render(text),
        tags=set(_ATTRIBUTES),
        attributes=_ATTRIBUTES,
        attribute_filter=_filtered,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    has_markup, has_text = "<" in _PLAIN.sub("", html), bool(_TAG.sub("", html).strip())
    return Markup(html) if has_markup and has_text else None  # The sanitizer has cleaned it.


def highlighted(code: str, language: str) -> str:
    """Return code as HTML with CSS classes; empty if the language is unknown or the code too long."""
    if not language or len(code) > _MAX_CODE:
        return ""
    from pygments import highlight, lexers
    from pygments.formatters import HtmlFormatter
    from pygments.util import ClassNotFound

    named: Any = lexers  # A lexer's options have no types.
    try:
        lexer = named.get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return ""
    make: Any = HtmlFormatter
    found: str = highlight(code, lexer, make(nowrap=True, classprefix="h-"))
    return found


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # On first use, since loading it takes longer than rendering the first page.

    def highlight(code: str, language: str, _attributes: str) -> str:
        return highlighted(code, language)

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "highlight": highlight})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.validateLink = _is_link  # type: ignore[method-assign]
    # Headings of a text do not belong to the outline of the page, which a screen reader follows.
    parser.add_render_rule("heading_open", lambda *_: "<p><strong>")
    parser.add_render_rule("heading_close", lambda *_: "</strong></p>\n")
    return parser


def _is_link(url: str) -> bool:
    return _LINKS.match(url.strip()) is not None


def _filtered(_tag: str, attribute: str, value: str) -> str | None:
    return value if attribute != "class" or _CLASSES.fullmatch(value) else None
