"""Words of a server as a line that a log can hold: short, printable, and of a web page what a reader sees first."""

from __future__ import annotations

import re
from typing import Final

_READ: Final = 16 << 10
_SHOWN: Final = 200
_TITLE: Final = re.compile(r"<title[^<>]{0,200}>([^<]*)", re.IGNORECASE)
_UNSEEN: Final = re.compile(r"<(script|style)\b.*?(?:</\1[^>]*>?|\Z)|<[^>]*(?:>|\Z)", re.IGNORECASE | re.DOTALL)


def is_page(body: bytes) -> bool:
    """Whether it is a web page, or XML."""
    return body[:_SHOWN].lstrip().startswith(b"<")


def start_of(body: bytes) -> str:
    """The title of a page, or its first words; the start of anything else."""
    text = body[:_READ].decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        text = title.group(1) if title and title.group(1).strip() else _UNSEEN.sub(" ", text)
    return one_line(text)


def one_line(text: str, *, most: int = _SHOWN) -> str:
    """The text without line ends, at most so long. What cannot be printed is marked, not left out: without it,
    pieces of something that was hidden might come together.
    """
    line = " ".join(text[: most * 4].split())[:most]
    return "".join(character if character.isprintable() else "�" for character in line)
