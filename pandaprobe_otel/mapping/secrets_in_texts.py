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
    r"[A-Za-z0-9]{30,}": "ghp_ gho_ ghs_ ghu_ ghr_ hf_ gsk_ xai- pplx- r8_ ntn_ lin_api_ npm_ sk_",
    r"[A-Za-z0-9_-]{30,}": "AIza 1//0 nvapi- tgp_v1_ pcsk_ jina_ glsa_",
    r"[A-Za-z0-9]{20,}": "csk- ls__ fw_",
    r"[A-Za-z0-9_-]{20,}": "ya29. GOCSPX- tvly- xapp- github_pat_",
    r"[A-Za-z0-9_-]{16,}": "sk- glpat-",
    r"[A-Z0-9]{16}\b": "AKIA ASIA",
    r"(?:pt|sk)_[A-Za-z0-9]{16,}(?:_[A-Za-z0-9]+)?": "lsv2_",
    r"(?:live|test|pp)_[A-Za-z0-9_-]{8,}": "sk_ rk_",
    r"[A-Za-z0-9+/]{16,}": "whsec_",
    r"[abeprs]-[A-Za-z0-9-]{10,}": "xox",
    r"[A-Za-z0-9_-]{50,}": "pypi-",
    r"[a-f0-9]{32,}": "dapi dop_v1_",
    r"[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}": "SG.",
    r"[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}": "eyJ",
    r" [A-Za-z0-9._~+/-]{16,}=*": "Bearer bearer",
    r" (?=[A-Za-z+/]{0,400}[0-9=])[A-Za-z0-9+/]{12,}=*": "Basic basic",
}
"""Credentials of known services: what follows the prefixes with which a word begins."""
_BEGINNING: Final = r"(?:\b|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"
"""Beginning of a word, also directly after an escape: in JSON, the `n` of a line break is not part of the word."""
_OTHER_FORMS: Final = {
    "hooks.slack.com/services/": r"(?<=hooks\.slack\.com/services/)[\w/]{20,}",
    ":AA": _BEGINNING + r"\d{8,10}:AA[A-Za-z0-9_-]{32,}",  # Telegram
    "-----BEGIN ": r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{1,20000}-----END [A-Z ]{0,40}PRIVATE KEY-----",
    "://": r"(?<=://)[^/\s:@\"']{1,200}:[^/\s@\"']{1,200}(?=@)",  # a user and a password
}
_COMPILED: Final = (
    *(
        (prefix, re.compile(_BEGINNING + re.escape(prefix) + rest))
        for rest, prefixes in _FORMS.items()
        for prefix in prefixes.split()
    ),
    *((held, re.compile(pattern)) for held, pattern in _OTHER_FORMS.items()),
)
"""Patterns of credentials by a part of every match, so that most texts need no further search."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_NAME: Final = re.compile(
    # A word "token" with one of these words before it is a place in a list, or a piece of text.
    r"(?!(?:.*_)?(?:after|before|bos|continuation|continue|cursor|decoded|end|eos|first|input|last|mask|max|next|output|"
    r"pad|page|pagination|predicted|prev|previous|prompt|resume|sep|special|start|stop|sync|unk)_token$)"
    r"(?:.*_)?(?:"
    r"secret|password|passwd|passphrase|passcode|authorization|credentials?|cookie|dsn|jwt|bearer|pwd|pin|otp|token|"
    # Most keys are no secrets: `cache_key`, `primary_key`, `public_key`.
    r"(?:access|account|admin|api|app|application|auth|client|consumer|encryption|hmac|ingest|license|master|private|"
    r"project|secret|service|session|shared|signing|ssh|storage|subscription|webhook|write|anthropic|aws|azure|cohere|"
    r"deepseek|gemini|github|google|groq|langsmith|mistral|nvidia|openai|openrouter|perplexity|pinecone|serper|stripe|"
    r"tavily|together)_key|"
    r"(?:admin|db|database|ftp|mail|proxy|root|smtp|ssh|user)_pass|"
    r"client_assertion|amz_signature|goog_signature|connection_string|password_hash|"
    # Words that are written together: `clientsecret`.
    r"(?:api|access|account|auth|private|secret|shared|signing|subscription)key|"
    r"(?:access|api|auth|bearer|bot|id|refresh|session|security)token|\w*(?:secret|password|passwd|passphrase))"
)
"""Names, as words in lower case, that are secret."""
_MOST_WORDS: Final = 3
"""Words at the end of a name that tell whether it is secret."""
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
    # Only the last words count. Matching all of them would take quadratic time.
    return _SECRET_NAME.fullmatch("_".join(_words(name)[-_MOST_WORDS:])) is not None


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
    for held, pattern in _COMPILED:
        if held in text:
            for match in pattern.finditer(text):
                yield match.span()
    for begin, end in _named_in(text):
        if text[begin:end] not in (SHOWN, _SHOWN_IN_URL):
            yield begin, end


_STEMS: Final = (
    *("key", "token", "secret", "password", "passwd", "pwd", "pass", "passphrase", "passcode", "pin", "otp"),
    *("credential", "credentials", "authorization", "cookie", "dsn", "jwt", "bearer", "assertion", "sig", "signature"),
    *("hmac", "code", "string", "hash"),
)
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
