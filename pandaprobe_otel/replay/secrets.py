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
"""Most secrets that are searched for, newest first. No program sends that many."""

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
    # First the prefix, so that most texts need no further search; then the whole pattern.
    ("sk-", r"\bsk-[A-Za-z0-9_-]{16,}"),
    ("sk_", r"\bsk_(?:live|test)_[A-Za-z0-9]{10,}"),
    ("AKIA", r"\bAKIA[A-Z0-9]{16}\b"),
    ("ASIA", r"\bASIA[A-Z0-9]{16}\b"),
    ("AIza", r"\bAIza[A-Za-z0-9_-]{30,}"),
    ("ya29.", r"\bya29\.[A-Za-z0-9_-]{20,}"),
    ("ghp_", r"\bghp_[A-Za-z0-9]{30,}"),
    ("gho_", r"\bgho_[A-Za-z0-9]{30,}"),
    ("ghs_", r"\bghs_[A-Za-z0-9]{30,}"),
    ("github_pat_", r"\bgithub_pat_\w{20,}"),
    ("glpat-", r"\bglpat-[\w-]{16,}"),
    ("xox", r"\bxox[abprse]-[A-Za-z0-9-]{10,}"),
    ("hf_", r"\bhf_[A-Za-z0-9]{30,}"),
    ("gsk_", r"\bgsk_[A-Za-z0-9]{30,}"),
    ("xai-", r"\bxai-[A-Za-z0-9]{30,}"),
    ("eyJ", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    ("PRIVATE KEY", r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{1,20000}-----END [A-Z ]{0,40}PRIVATE KEY-----"),
    ("earer ", r"\b[Bb]earer [A-Za-z0-9._~+/-]{16,}=*"),
    ("://", r"(?<=://)[^/\s:@\"']{1,200}:[^/\s@\"']{1,200}(?=@)"),
)
_COMPILED: Final = tuple((begin, re.compile(pattern)) for begin, pattern in _PATTERNS)

_BEGINNINGS: Final = tuple(begin.encode() for begin, _ in _PATTERNS)

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


def may_have_secret_names(body: bytes) -> bool:
    """Return quickly whether JSON may have a field with the name of a secret."""
    parts = body.split(_KEY_END)
    return any(part[-_LONGEST_END:].rstrip(b"\\").lower().endswith(_BYTE_ENDS) for part in parts)


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
    for name, value in headers.items():
        if name not in _SECRET_HEADERS:
            continue
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


def may_match(body: bytes) -> bool:
    """Return quickly whether a body may contain a text in the form of a secret."""
    if not any(begin in body for begin in _BEGINNINGS):
        return False
    return next(patterns_in(body.decode("latin-1")), None) is not None


def patterns_in(text: str) -> Iterator[re.Match[str]]:
    """Find texts in the form of a secret."""
    for begin, pattern in _COMPILED:
        if begin in text:
            yield from pattern.finditer(text)
