"""Secrets of a process: in its environment and in the headers that it sends and gets."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

from pandaprobe_otel.mapping.secrets_in_texts import is_secret_header

SHORTEST: Final = 8
"""Shortest secret, in characters. A shorter one would occur in many texts."""
MOST: Final = 200
"""Maximum number of secrets that are searched for, newest first. No program sends that many."""

_NO_SECRET: Final = re.compile(r"[a-z _-]*|\[scrubbed\]")
_WORDS: Final = frozenset(
    {"KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "PAT", "CREDENTIAL", "CREDENTIALS", "DSN"}
)
_AFTER: Final = frozenset({"ID", "B64", "BASE64", "1", "2", "3"})


def is_secret(value: str) -> bool:
    """Return whether a value can be a secret: it is long enough, and not a placeholder for a key ("not-needed")."""
    return len(value) >= SHORTEST and (len(value) >= 16 or not _NO_SECRET.fullmatch(value))


def of_environment(environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the values of variables with names of secrets."""
    for name, value in (os.environ if environ is None else environ).items():
        parts = name.upper().split("_")
        while len(parts) > 1 and parts[-1] in _AFTER:
            parts.pop()
        if parts[-1] in _WORDS and not os.path.exists(value):
            yield value


def of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets in the headers of a request or an answer. Names are lower case."""
    for name in sorted(filter(is_secret_header, headers)):
        value = headers[name]
        if "cookie" in name:
            pairs = value.split(";") if name == "cookie" else value.split(";")[:1]
            yield from (pair.partition("=")[2].strip() for pair in pairs)
            continue
        scheme, _, rest = value.partition(" ")
        yield rest.strip() or scheme
        if scheme.lower() == "basic":
            yield from _basic(rest)


def _basic(text: str) -> Iterator[str]:
    try:
        user, _, password = b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return
    yield from (user, password)


def forms_of(secret: str) -> Iterator[str]:
    """Yield the encodings in which a text can contain a secret: plain, in a URL, in JSON, in base64 at any offset."""
    yield secret
    yield quote(secret, safe="")
    escaped = json.dumps(secret)[1:-1]
    yield escaped
    yield json.dumps(escaped)[1:-1]
    encoded = secret.encode("utf-8", "surrogatepass")
    for offset in range(3):
        text = b64encode(bytes(offset) + encoded).decode()
        inner = text[-(-offset * 8 // 6) : (offset + len(encoded)) * 8 // 6]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")
