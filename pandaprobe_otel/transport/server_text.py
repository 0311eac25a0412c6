"""Text from servers: without keys that a server or proxy echoes, and as one short, printable line or a JSON object.

Logs, `status()`, dead letters and exceptions contain text from servers. All of it passes through `Redaction`, where the
key is known.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, cast

import orjson

from pandaprobe_otel.transport.request_outcome import NoAnswer, Outcome

SHOWN: Final = "[redacted]"
_SECRET_HEADERS: Final = ("x-api-key", "authorization")
_SHORTEST: Final = 6
"""Shortest secret in characters; a shorter one would match in any text."""
_REMEMBERED: Final = 4
_KEPT: Final = 128 << 10
"""Bytes kept of an error's body; five hundred refused fields take 75 KB."""
_READ: Final = 16 << 10
_LINE: Final = 200
_TITLE: Final = re.compile(r"<title[^<>]{0,200}>([^<]*)", re.IGNORECASE)
_UNSEEN: Final = re.compile(r"<(script|style)\b.*?(?:</\1[^>]*>?|\Z)|<[^>]*(?:>|\Z)", re.IGNORECASE | re.DOTALL)


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty one if it is anything else."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def is_page(body: bytes) -> bool:
    """Return whether the body is a web page or XML."""
    return body[:_LINE].lstrip().startswith(b"<")


def start_of(body: bytes) -> str:
    """Return the title or the first words of a web page, or the start of any other text."""
    text = body[:_READ].decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text)
        text = title.group(1) if title and title.group(1).strip() else _UNSEEN.sub(" ", text)
    return one_line(text)


def one_line(text: str, *, most: int = _LINE) -> str:
    """Return the text as one line of at most `most` characters, with unprintable characters marked.

    They are not removed, because that might join the pieces of a secret.
    """
    line = " ".join(text[: most * 4].split())[:most]
    return "".join(character if character.isprintable() else "�" for character in line)


class Redaction:
    """Redaction of one transport's secrets: the current ones, and earlier ones whose answers may still arrive.

    It applies to every outcome except a success.
    """

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def learn(self, headers: Mapping[str, str]) -> None:
        """Remember the secrets in these headers."""
        for name, value in headers.items():
            secret = value.removeprefix("Bearer ")
            if name.lower() in _SECRET_HEADERS and len(secret) >= _SHORTEST and secret not in self._secrets:
                self._secrets = (*self._secrets, secret)[-_REMEMBERED:]

    def applied_to(self, outcome: Outcome) -> Outcome:
        """Return the outcome without secrets. A success stays as it is, unless it is a web page."""
        if isinstance(outcome, NoAnswer):
            return replace(outcome, reason=self.without(outcome.reason))
        if 200 <= outcome.status < 300 and not is_page(outcome.body):
            return outcome
        return replace(
            outcome,
            body=self.without(outcome.body[:_KEPT].decode("latin-1")).encode("latin-1"),
            headers={name: self.without(value) for name, value in outcome.headers.items()},
        )

    def without(self, text: str) -> str:
        """Return the text without secrets."""
        if not self._secrets or not text:
            return text
        return _pattern(self._secrets).sub(SHOWN, text.replace("\0", ""))  # UTF-16 has NULs between the characters


@lru_cache(maxsize=8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(form for secret in secrets for form in _forms(secret)), re.IGNORECASE)


def _forms(secret: str) -> Iterator[str]:
    """Yield patterns: each character plain or escaped (URL, JSON, Python, HTML), and the whole secret as base64."""
    encoded = secret.encode()
    yield "".join(_run(byte, len(tuple(alike))) for byte, alike in groupby(encoded))
    for offset in range(3):  # base64 encodes three bytes at a time, so the secret may begin at any of them
        text = b64encode(bytes(offset) + encoded).decode()
        of_it = text[-(-offset * 8 // 6) : (offset + len(encoded)) * 8 // 6]
        yield re.escape(of_it).replace(r"\+", r"[+\-]").replace("/", "[/_]")


def _run(byte: int, count: int) -> str:
    """Return a pattern for a run of one character, without backtracking, so that no answer can make the search slow."""
    number, character = f"{byte:02x}", chr(byte)
    escapes = rf"%{number}|\\u00{number}|\\x{number}|&\#0{{0,6}}{byte};|&\#x0{{0,6}}{number};"
    if character == "\\":  # JSON doubles a backslash, and JSON within JSON doubles it twice
        return rf"(?>(?:{escapes}){{{count}}}|\\{{{count},{count * 4}}})"
    before = r"\\{0,3}" if character in '"/' else ""
    return rf"(?>{escapes}|{re.escape(html.escape(character))}|{before}{re.escape(character)})" * count
