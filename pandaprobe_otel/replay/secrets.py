"""Secrets: patterns and names that identify them in texts, and the secrets of a process."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

SHOWN: Final = "[scrubbed]"
SHORTEST: Final = 8
"""Shortest secret, in characters. A shorter one would occur in many texts."""
MOST: Final = 200
"""Maximum number of secrets that are searched for, newest first. No program sends that many."""

_NO_SECRET: Final = re.compile(r"[a-z _-]*|\[scrubbed\]")
_WORDS: Final = frozenset(
    {"KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "PAT", "CREDENTIAL", "CREDENTIALS", "DSN"}
)
_AFTER: Final = frozenset({"ID", "B64", "BASE64", "1", "2", "3"})
_SECRET_HEADERS: Final = frozenset(
    {
        "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key",
        "x-amz-security-token", "cookie", "set-cookie",
    }
)  # fmt: skip

_PATTERNS: Final = (
    # First a part of every match, so that most texts need no further search; then the whole pattern; then the fewest
    # bytes that follow the part in JSON, none of them a space or a quote, so that most bodies are not parsed.
    ("sk-", r"\bsk-[A-Za-z0-9_-]{16,}", 16),
    ("sk_", r"\bsk_(?:live|test)_[A-Za-z0-9]{10,}", 15),
    ("AKIA", r"\bAKIA[A-Z0-9]{16}\b", 16),
    ("ASIA", r"\bASIA[A-Z0-9]{16}\b", 16),
    ("AIza", r"\bAIza[A-Za-z0-9_-]{30,}", 30),
    ("ya29.", r"\bya29\.[A-Za-z0-9_-]{20,}", 20),
    ("ghp_", r"\bghp_[A-Za-z0-9]{30,}", 30),
    ("gho_", r"\bgho_[A-Za-z0-9]{30,}", 30),
    ("ghs_", r"\bghs_[A-Za-z0-9]{30,}", 30),
    ("github_pat_", r"\bgithub_pat_\w{20,}", 20),
    ("glpat-", r"\bglpat-[\w-]{16,}", 16),
    ("xox", r"\bxox[abprse]-[A-Za-z0-9-]{10,}", 12),
    ("hf_", r"\bhf_[A-Za-z0-9]{30,}", 30),
    ("gsk_", r"\bgsk_[A-Za-z0-9]{30,}", 30),
    ("xai-", r"\bxai-[A-Za-z0-9]{30,}", 30),
    (".eyJ", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}", 17),
    ("PRIVATE KEY", r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{1,20000}-----END [A-Z ]{0,40}PRIVATE KEY-----", 0),
    ("earer ", r"\b[Bb]earer [A-Za-z0-9._~+/-]{16,}=*", 16),
    ("://", r"(?<=://)[^/\s:@\"']{1,200}:[^/\s@\"']{1,200}(?=@)", 3),  # a user and a password
)
_BEGINNING: Final = r"(?:\b|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"
"""Beginning of a word, also directly after an escape: in JSON, the `n` of a line break is not part of the word."""
_COMPILED: Final = tuple(
    (held, re.compile(_BEGINNING + pattern[2:] if pattern.startswith(r"\b") else pattern))
    for held, pattern, _ in _PATTERNS
)
_USER_BYTES: Final = 401 * 12
"""Maximum number of bytes of a user and a password in a URL, with every character escaped."""
_IN_JSON: Final = (
    *(
        (held.encode(), length, re.compile(re.escape(held.encode()) + rb"[^\s\"]{%d}" % length))
        for held, _, length in _PATTERNS
        if held != "://"
    ),
    (b"://", _USER_BYTES + 1, re.compile(rb"://[^/\s\"'@]{3,%d}@" % _USER_BYTES)),
)
_ESCAPED: Final = re.compile(rb"\\(?:/|u00[2-7])")
"""Escapes that JSON does not need. A text with them has to be parsed."""
_LONGEST_ESCAPE: Final = 6

_SECRET_NAMES: Final = frozenset(
    {
        "apikey", "xapikey", "accesstoken", "refreshtoken", "idtoken", "sessiontoken", "authtoken", "bearertoken",
        "clientsecret", "secret", "secretkey", "secretaccesskey", "awssecretaccesskey", "awssessiontoken", "password",
        "passwd", "passphrase", "privatekey", "authorization", "credentials", "clientassertion", "assertion", "sig",
        "xamzsignature", "xamzcredential", "xamzsecuritytoken", "cookie",
    }
)  # fmt: skip
_ENDS: Final = (
    "key", "token", "secret", "password", "passwd", "passphrase", "authorization", "credential", "credentials",
    "assertion", "cookie",
)  # fmt: skip
"""Suffixes of the names above, except `sig`, which only URLs have."""
_BYTE_ENDS: Final = tuple(end.encode() for end in _ENDS)
_KEY_END: Final = b'":'
_LONGEST_END: Final = 16
_SPACE_AFTER_KEY: Final = re.compile(rb'"\s+:')


def may_have_secret_names(body: bytes, begin: int = 0, end: int | None = None) -> bool:
    """Return quickly whether JSON may have a field with the name of a secret that touches this part."""
    end = len(body) if end is None else end
    while body[begin - 1 : begin].isspace():
        begin -= 1
    while body[end : end + 1].isspace():
        end += 1
    part = body[max(begin - _LONGEST_END - len(_KEY_END), 0) : end + _LONGEST_END + len(_KEY_END)]
    if _SPACE_AFTER_KEY.search(part):
        return True
    return any(
        before[-_LONGEST_END:].rstrip(b"\\").lower().endswith(_BYTE_ENDS) and _ends_in_secret_name(before)
        for before in part.split(_KEY_END)[:-1]
    )


def _ends_in_secret_name(text: bytes) -> bool:
    _, quote_before, name = text.rstrip(b"\\").rpartition(b'"')
    return not quote_before or is_secret_name(name.decode("utf-8", "replace"))


def is_secret_name(name: str) -> bool:
    """Return whether a field of an object or URL with this name has a secret."""
    return name.lower().replace("-", "").replace("_", "") in _SECRET_NAMES


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
    for name in sorted(headers.keys() & _SECRET_HEADERS):
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


def may_match(body: bytes, begin: int = 0, end: int | None = None) -> bool:
    """Return quickly whether a body may contain a text in the form of a secret that touches this part.

    The body is not parsed. So the byte before a secret is not checked: it may be the `n` of an escaped line break.
    """
    end = len(body) if end is None else end
    if _ESCAPED.search(body, max(begin - _LONGEST_ESCAPE, 0), end + _LONGEST_ESCAPE):
        return True
    for held, length, pattern in _IN_JSON:
        until = end + len(held)
        place = body.find(held, max(begin - len(held) - length, 0), until)
        while place >= 0:
            if pattern.match(body, place):
                return True
            place = body.find(held, place + 1, until)
    return False


def patterns_in(text: str) -> Iterator[re.Match[str]]:
    """Find texts in the form of a secret."""
    for held, pattern in _COMPILED:
        if held in text:
            yield from pattern.finditer(text)
