"""Markdown as HTML that is safe to show.

Models write Markdown, and strangers write what models repeat. Two libraries stand between them and the page: the parser
makes no HTML of HTML, no pictures, and links of four kinds only; the sanitiser lets a list of tags through, whatever
the parser has made.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MAX_SOURCE: Final = 32_000
"""Characters of a text that is read as Markdown: the worst text known takes 0.6 s at that length, and 4.5 s at seven
times as many. Longer ones are shown as they are."""
_MAX_CODE: Final = 50_000
_KEPT: Final = 512
"""Texts whose HTML is remembered: pages load themselves again while traces arrive."""
_LINKS: Final = re.compile(r"(?:https?://|mailto:|#)", re.IGNORECASE)
_CLASSES: Final = re.compile(r"(?:language-[\w+#.-]{1,30}|h-[a-z0-9]{1,4})", re.ASCII)
_ATTRIBUTES: Final[dict[str, set[str]]] = {
    **{tag: set() for tag in ("blockquote", "br", "del", "em", "hr", "p", "pre", "s", "strong", "ul", "li")},
    **{tag: set() for tag in ("h1", "h2", "h3", "h4", "h5", "h6", "table", "tbody", "td", "th", "thead", "tr")},
    "a": {"href", "title"},
    "code": {"class"},
    "ol": {"start"},
    "span": {"class"},
}
"""The tags that come through, each with what may stand in it."""
_PLAIN: Final = re.compile(r"</?p>|<br ?/?>\n?|\n")
_TAG: Final = re.compile(r"<[^>]*>")
_MARKS: Final = re.compile(r"[*_`#~|<\[\]>]|^\s*(?:[-+]|\d+[.)])\s|^(?: {4}|\t)|^-{3,}|^={3,}", re.MULTILINE)
"""A text without any of these has no Markdown in it; most texts do not need the parser."""


@lru_cache(maxsize=_KEPT)
def rich_text(text: str) -> Markup | None:
    """Return the HTML of a Markdown text; None where it is plain text, or too long to be read."""
    if len(text) > MAX_SOURCE or _MARKS.search(text) is None:
        return None
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
    return Markup(html) if has_markup and has_text else None  # it has come through the sanitiser


def highlighted(code: str, language: str) -> str:
    """Return code as HTML with its parts in classes; empty where the language is not known, or the code too long."""
    if not language or len(code) > _MAX_CODE:
        return ""
    from pygments import highlight, lexers
    from pygments.formatters import HtmlFormatter
    from pygments.util import ClassNotFound

    named: Any = lexers  # the types of a lexer's options are not given
    try:
        lexer = named.get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return ""
    make: Any = HtmlFormatter
    found: str = highlight(code, lexer, make(nowrap=True, classprefix="h-"))
    return found


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # on use: it takes longer to load than the first page to make

    def highlight(code: str, language: str, _attributes: str) -> str:
        return highlighted(code, language)

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "highlight": highlight})
    parser.enable(["table", "strikethrough"]).disable("image")
    parser.validateLink = _is_link  # type: ignore[method-assign]
    return parser


def _is_link(url: str) -> bool:
    return _LINKS.match(url.strip()) is not None


def _filtered(_tag: str, attribute: str, value: str) -> str | None:
    return value if attribute != "class" or _CLASSES.fullmatch(value) else None
