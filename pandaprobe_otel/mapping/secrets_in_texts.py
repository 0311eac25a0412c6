"""Credentials in texts: recognised by their form, by the name before them, or by the name of their field.

- By form: keys of known services ("sk-…", "AKIA…", "lsv2_pt_…"), tokens, private keys, a user and password in a URL.
- By the name before them in a text: parameters of URLs and forms, JSON and code within texts, `password=…`.
- By the name of a field or header: `is_secret_name`.

Names are compared by their last words, so that `token` and `db_password` are secret, but `max_tokens`, `token_count`,
`next_page_token`, `cache_key` and `public_key` are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

SHOWN: Final = "[scrubbed]"
"""Marker in place of a credential."""
_SHOWN_IN_URL: Final = "%5Bscrubbed%5D"

_FORMS: Final = {
    "sk-": r"\bsk-[A-Za-z0-9_-]{16,}",
    "sk_": r"\bsk_(?:(?:live|test|pp)_[A-Za-z0-9_-]{8,}|[A-Za-z0-9]{32,})",
    "rk_": r"\brk_(?:live|test)_[A-Za-z0-9]{10,}",
    "csk-": r"\bcsk-[A-Za-z0-9]{20,}",
    "whsec_": r"\bwhsec_[A-Za-z0-9+/]{16,}",
    "AKIA": r"\bAKIA[A-Z0-9]{16}\b",
    "ASIA": r"\bASIA[A-Z0-9]{16}\b",
    "AIza": r"\bAIza[A-Za-z0-9_-]{30,}",
    "ya29.": r"\bya29\.[A-Za-z0-9_-]{20,}",
    "GOCSPX-": r"\bGOCSPX-[A-Za-z0-9_-]{20,}",
    "//0": r"\b1//0[A-Za-z0-9_-]{30,}",
    "ghp_": r"\bghp_[A-Za-z0-9]{30,}",
    "gho_": r"\bgho_[A-Za-z0-9]{30,}",
    "ghs_": r"\bghs_[A-Za-z0-9]{30,}",
    "ghu_": r"\bghu_[A-Za-z0-9]{30,}",
    "ghr_": r"\bghr_[A-Za-z0-9]{30,}",
    "github_pat_": r"\bgithub_pat_\w{20,}",
    "glpat-": r"\bglpat-[\w-]{16,}",
    "xox": r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",
    "xapp-": r"\bxapp-[A-Za-z0-9-]{20,}",
    "hooks.slack.com/services/": r"(?<=hooks\.slack\.com/services/)[\w/]{20,}",
    "hf_": r"\bhf_[A-Za-z0-9]{30,}",
    "gsk_": r"\bgsk_[A-Za-z0-9]{30,}",
    "xai-": r"\bxai-[A-Za-z0-9]{30,}",
    "pplx-": r"\bpplx-[A-Za-z0-9]{30,}",
    "tvly-": r"\btvly-[A-Za-z0-9_-]{20,}",
    "lsv2_": r"\blsv2_(?:pt|sk)_[A-Za-z0-9]{16,}(?:_[A-Za-z0-9]+)?",
    "ls__": r"\bls__[A-Za-z0-9]{20,}",
    "nvapi-": r"\bnvapi-[A-Za-z0-9_-]{30,}",
    "tgp_v1_": r"\btgp_v1_[A-Za-z0-9_-]{30,}",
    "r8_": r"\br8_[A-Za-z0-9]{30,}",
    "fw_": r"\bfw_[A-Za-z0-9]{20,}",
    "pcsk_": r"\bpcsk_[A-Za-z0-9_]{30,}",
    "jina_": r"\bjina_[A-Za-z0-9_-]{30,}",
    "ntn_": r"\bntn_[A-Za-z0-9]{30,}",
    "lin_api_": r"\blin_api_[A-Za-z0-9]{30,}",
    "npm_": r"\bnpm_[A-Za-z0-9]{30,}",
    "pypi-": r"\bpypi-[A-Za-z0-9_-]{50,}",
    "dapi": r"\bdapi[a-f0-9]{32}",
    "SG.": r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "glsa_": r"\bglsa_[A-Za-z0-9_]{30,}",
    "dop_v1_": r"\bdop_v1_[a-f0-9]{40,}",
    ":AA": r"\b\d{8,10}:AA[A-Za-z0-9_-]{32,}",  # Telegram
    ".eyJ": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "-----BEGIN ": r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{1,20000}-----END [A-Z ]{0,40}PRIVATE KEY-----",
    "earer ": r"\b[Bb]earer [A-Za-z0-9._~+/-]{16,}=*",
    "asic ": r"\b[Bb]asic (?=[A-Za-z+/]{0,400}[0-9=])[A-Za-z0-9+/]{12,}=*",
    "://": r"(?<=://)[^/\s:@\"']{1,200}:[^/\s@\"']{1,200}(?=@)",  # a user and a password
}
"""Patterns of credentials by a part of every match, so that most texts need no further search."""
_BEGINNING: Final = r"(?:\b|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"
"""Beginning of a word, also directly after an escape: in JSON, the `n` of a line break is not part of the word."""
_COMPILED: Final = tuple(
    (held, re.compile(_BEGINNING + pattern[2:] if pattern.startswith(r"\b") else pattern))
    for held, pattern in _FORMS.items()
)
_SEPARATED: Final = tuple(held for held in _FORMS if held.endswith(("-", "_")))
_UNSEPARATED: Final = tuple(one for one in _COMPILED if not one[0].endswith(("-", "_")))

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALWAYS: Final = frozenset(
    {
        "secret", "password", "passwd", "passphrase", "passcode", "authorization", "credential", "credentials",
        "cookie", "dsn", "jwt", "bearer", "apikey", "pwd",
    }
)  # fmt: skip
_KEYS_OF: Final = frozenset(
    {
        "access", "account", "admin", "api", "app", "application", "auth", "client", "consumer", "encryption", "hmac",
        "ingest", "license", "master", "private", "project", "secret", "service", "session", "shared", "signing", "ssh",
        "storage", "subscription", "webhook", "write",
        "anthropic", "aws", "azure", "cohere", "deepseek", "gemini", "github", "google", "groq", "langsmith", "mistral",
        "nvidia", "openai", "openrouter", "perplexity", "pinecone", "serper", "stripe", "tavily", "together",
    }
)  # fmt: skip
"""Words before "key" that make it a secret. Most keys are none: `cache_key`, `primary_key`, `public_key`."""
_HARMLESS_TOKENS: Final = frozenset(
    {
        "after", "before", "bos", "continuation", "continue", "cursor", "decoded", "end", "eos", "first", "input",
        "last", "mask", "max", "next", "output", "pad", "page", "pagination", "predicted", "prev", "previous", "prompt",
        "resume", "sep", "special", "start", "stop", "sync", "unk",
    }
)  # fmt: skip
"""Words before "token" that make it a place in a list, or a piece of text."""
_PASS_OF: Final = frozenset({"admin", "db", "database", "ftp", "mail", "proxy", "root", "smtp", "ssh", "user"})
_GLUED: Final = re.compile(
    r"(?:api|access|account|auth|private|secret|shared|signing|subscription)key"
    r"|(?:access|api|auth|bearer|bot|id|refresh|session|security)token|\w*(?:secret|password|passwd|passphrase)"
)
"""Words that are written together: `clientsecret`."""
_IN_URLS: Final = frozenset({"key", "sig", "signature", "hmac", "assertion"})
_LONG_IN_URLS: Final = 16
"""Fewest characters of a `code` in a URL that is a secret: those of OAuth and of Azure's functions, but no "DE"."""
_SHORTEST_TOKEN: Final = 8
_PIN: Final = re.compile(r"(?=[^\d]*\d)\w{4,}")
_PATH: Final = re.compile(r"[/~.]|[A-Za-z]:[\\/]")
_SHARES_OF_TOKENS: Final = frozenset({"logprob", "logProbability", "log_probability", "tokenId", "token_id", "bytes"})
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})


def _words(name: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(name)]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in ("b", "base")):  # `api_key_2`, `key_b64`
        words.pop()
    return words


def is_secret_name(name: str) -> bool:
    """Return whether fields and headers with this name hold secrets.

    A field with the bare name `token` or `pin` is one only with some values: see `is_secret_field`.
    """
    words = _words(name)
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _ALWAYS or _GLUED.fullmatch(last):
        return True
    match last:
        case "key":
            return before in _KEYS_OF
        case "token":
            return before not in _HARMLESS_TOKENS
        case "pass":
            return before in _PASS_OF
        case "assertion":
            return before == "client"
        case "signature":
            return before in ("amz", "goog")
        case "string":
            return before == "connection"
        case "hash":
            return before == "password"
        case _:
            return last in ("pin", "otp")


def is_secret_field(name: str, value: str, siblings: Mapping[str, Any] | None = None) -> bool:
    """Return whether a field of an object, with this value and these other fields, holds a secret."""
    if not value or not is_secret_name(name):
        return False
    words = _words(name)
    if words == ["token"]:  # a credential, or a piece of text beside its probability
        is_piece = siblings is not None and not _SHARES_OF_TOKENS.isdisjoint(siblings)
        return not is_piece and len(value) >= _SHORTEST_TOKEN and not any(map(str.isspace, value))
    if words[-1] in ("pin", "otp"):
        return _PIN.fullmatch(value) is not None
    return words[-1] != "pwd" or _PATH.match(value) is None


def is_secret_parameter(name: str, value: str) -> bool:
    """Return whether a parameter of a URL or a field of a form holds a secret."""
    words = _words(name)
    if not words or not value:
        return False
    if words == ["token"]:
        return True
    return (
        words == ["key"]
        or (words[-1] in _IN_URLS and words[-1] != "key")
        or (words == ["code"] and len(value) >= _LONG_IN_URLS)
        or is_secret_field(name, value)
    )


def is_secret_header(name: str) -> bool:
    """Return whether a header holds a secret. Its name may have any case."""
    return name.lower() in _SECRET_HEADERS or is_secret_name(name)


def without_credentials(text: str) -> str:
    """Return a text, such as an error or a URL, with `SHOWN` in place of each credential.

    Texts without credentials are returned unchanged, and cost a few searches for fixed words.
    """
    found = sorted(credentials_in(text))
    if not found:
        return text
    kept: list[str] = []
    place = 0
    for begin, end in found:
        if begin >= place:
            kept += (text[place:begin], SHOWN)
        place = max(place, end)
    return "".join((*kept, text[place:]))


def credentials_in(text: str) -> Iterator[tuple[int, int]]:
    """Yield the beginning and end of each credential in a text. Some overlap."""
    has_separator = any(text.endswith(_SEPARATED, 0, place + 1) for place in _places(text, "-_"))
    for held, pattern in _COMPILED if has_separator else _UNSEPARATED:
        if held in text:
            for match in pattern.finditer(text):
                yield match.span()
    for begin, end in _named_in(text):
        if text[begin:end] not in (SHOWN, _SHOWN_IN_URL):
            yield begin, end


_STEMS: Final = (
    "key", "token", "secret", "password", "passwd", "pwd", "pass", "passphrase", "passcode", "pin", "otp", "credential",
    "credentials", "authorization", "cookie", "dsn", "jwt", "bearer", "assertion", "sig", "signature", "hmac", "code",
    "string", "hash",
)  # fmt: skip
"""Ends of the names that may be secret."""
_BETWEEN: Final = " \t\r\n\"'\\]"
_NUMBERED: Final = re.compile(r"(?:[_-]?(?:b64|base64|\d{1,2}))?$", re.IGNORECASE)
_LONGEST_NAME: Final = 80
"""Characters before a sign in which a name is searched for, with quotes and spaces."""
_AFTER_NAME: Final = re.compile(r"(?P<close>\\*[\"'])?\]?\s*[=:]>?\s{0,4}(?P<open>\\*[\"'])?")
_IN_URL: Final = re.compile(r"[^&\s\"'#<>\\]+")
_BARE: Final = re.compile(r"(?=[^\s,;&]*\d)(?=[^\s,;&]*[A-Za-z])[A-Za-z0-9+/_~.%@!$^*-]{8,}=*(?=$|[\s,;&\"'`)}\]\\<])")
_CODE: Final = re.compile(r"(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*")
_FORM: Final = re.compile(r"[\w.%*~+-]+=[\w.%*~+-]*(?:&[\w.%*~+-]+=[\w.%*~+-]*)+\s*", re.ASCII)
_LONGEST_FORM: Final = 64 << 10
_FORM_FIELD: Final = re.compile(
    r"form-data;[^\r\n]{0,200}?\bname=\"([^\"\r\n]{1,200})\"(?![^\r\n]*filename=)[^\r\n]*\r?\n(?:[^\r\n]+\r?\n){0,8}\r?\n"
    r"([^\r\n]+)(?=\r?\n--)",
    re.IGNORECASE,
)
_LONGEST_VALUE: Final = 4096


def _places(text: str, characters: str, begin: int = 0, end: int | None = None) -> Iterator[int]:
    """Yield the places of these characters, much faster than a regular expression where they are rare."""
    for character in characters:
        place = text.find(character, begin, end)
        while place >= 0:
            yield place
            place = text.find(character, place + 1, end)


def _named_in(text: str) -> Iterator[tuple[int, int]]:
    """Yield the values that follow secret names in a text."""
    form: bool | None = None
    for place in _places(text, "=:"):
        found = _name_in(text[max(place - _LONGEST_NAME, 0) : place])
        if found is None:
            continue
        name, gap = found
        after = _AFTER_NAME.match(text, place - gap)
        if after is None:
            continue
        if after["open"]:
            yield from _quoted(text, name, after)
            continue
        if after["close"]:
            continue
        is_parameter = False
        if text[place] == "=" and not gap:
            begin = place - len(name)
            form = _is_form(text) if form is None else form
            is_parameter = form or text[begin - 1 : begin] in ("?", "&")
        yield from _parameter(text, name, place + 1) if is_parameter else _bare(text, name, after)
    if "form-data" in text:
        for field in _FORM_FIELD.finditer(text):
            if is_secret_parameter(field[1], field[2]):
                yield field.span(2)


def _is_form(text: str) -> bool:
    return len(text) <= _LONGEST_FORM and _FORM.fullmatch(text) is not None


def _name_in(before: str) -> tuple[str, int] | None:
    """Return the name that stands before a sign, and the number of characters after it; None for most names.

    Only the ends of names are compared: whether a name is secret depends on its value.
    """
    bare = before.rstrip(_BETWEEN)
    stem = bare[: _NUMBERED.search(bare).start()] if bare[-1:].isdigit() or bare[-2:] == "64" else bare  # type: ignore[union-attr]
    if not stem[-16:].lower().endswith(_STEMS):
        return None
    begin = len(bare)
    while begin and (bare[begin - 1].isalnum() or bare[begin - 1] in "_-.["):
        begin -= 1
    if begin and bare[begin - 1] == "\\" and bare[begin] in "bfnrt":
        begin += 1  # the end of an escape
    return bare[begin:], len(before) - len(bare)


def _quoted(text: str, name: str, after: re.Match[str]) -> Iterator[tuple[int, int]]:
    """Yield the value of `"name": "value"` and of `name="value"`."""
    begin = after.end()
    end = _end_of(text, after["open"], begin)
    value = text[begin:end]
    if end < 0 or "\n" in value or not is_secret_field(name, value):
        return
    if after["close"] or (len(value) >= _SHORTEST_TOKEN and re.search(r"[\dA-Z]", value)):
        yield begin, end


def _end_of(text: str, opening: str, begin: int) -> int:
    """Return the end of a quoted value; -1 if it has none. In JSON within JSON, a quote has backslashes before it."""
    own = len(opening) - 1
    for place in _places(text, opening[-1:], begin, begin + _LONGEST_VALUE):
        before = place
        while before > begin and text[before - 1] == "\\":
            before -= 1
        if (place - before) % (2 * own + 2) == own:
            return place - own
    return -1


def _parameter(text: str, name: str, begin: int) -> Iterator[tuple[int, int]]:
    value = _IN_URL.match(text, begin)
    if value is not None and is_secret_parameter(name, value[0]):
        yield value.span()


def _bare(text: str, name: str, after: re.Match[str]) -> Iterator[tuple[int, int]]:
    """Yield the value of `name=value` and `name: value`, if it looks random rather than like code or a word."""
    value = _BARE.match(text, after.end())
    if value is not None and not _CODE.fullmatch(value[0]) and is_secret_field(name, value[0]):
        yield value.span()
