"""Text from a server as one log line: short and printable. A web page is shown by its title or first words."""

from __future__ import annotations

import re
from typing import Final

_READ: Final = 16 << 10
_SHOWN: Final = 200
_TITLE: Final = re.compile(r"<title[^<>]{0,200}>([^<]*)", re.IGNORECASE)
_UNSEEN: Final = re.compile(r"<(script|style)\b.*?(?:</\1[^>]*>?|\Z)|<[^>]*(?:>|\Z)", re.IGNORECASE | re.DOTALL)


def is_page(body: bytes) -> bool:
    """Return whether the body is a web page or XML."""
    return body[:_SHOWN].lstrip().startswith(b"<")


def start_of(body: bytes) -> str:
    """Return the title or the first words of a web page, or the start of any other text."""
    text = body[:_READ].decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        text = title.group(1) if title and title.group(1).strip() else _UNSEEN.sub(" ", text)
    return one_line(text)


def one_line(text: str, *, most: int = _SHOWN) -> str:
    """Return the text as one line of at most `most` characters, with unprintable characters marked.

    They are not removed, because that might join the pieces of a secret.
    """
    line = " ".join(text[: most * 4].split())[:most]
    return "".join(character if character.isprintable() else "�" for character in line)
