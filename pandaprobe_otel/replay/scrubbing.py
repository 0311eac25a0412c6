"""Scrubbing: secrets are removed from requests before they are compared, and from everything that is saved.

Headers are saved by an allow list. These values are removed from bodies, URLs and tool calls: values of environment
variables with names of secrets, of secret headers and of cookies, in every encoding; credentials, by their form or name
(`mapping/secrets_in_texts.py`); and matches of the configured `mask`. A secret that is split over
several pieces of a stream is removed too.
"""

from __future__ import annotations

import json
import os
import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.mapping.options import Mask, compile_masks, mask_everything, masked_text
from pandaprobe_otel.mapping.secrets_in_texts import (
    SHOWN,
    is_secret_field,
    is_secret_header,
    is_secret_parameter,
    without_credentials,
)
from pandaprobe_otel.protocols.encoding import dump
from pandaprobe_otel.replay.body_units import NO_JSON, Path, Unit, deltas, joined, units_of
from pandaprobe_otel.replay.interactions import Interaction, RecordedAnswer, RecordedRequest, ToolCall

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


Scrub = Callable[[Any], Any]

_REQUEST_HEADERS: Final = frozenset(
    {"accept", "anthropic-beta", "anthropic-version", "content-type", "openai-beta", "x-amz-target"}
)
_ANSWER_HEADERS: Final = frozenset(
    {
        "content-encoding", "content-type", "location", "openai-version", "request-id", "retry-after", "retry-after-ms",
        "x-amzn-errortype", "x-amzn-requestid", "x-request-id", "x-should-retry",
    }
)  # fmt: skip
_ANSWER_BEGINNINGS: Final = ("x-ratelimit-", "anthropic-ratelimit-", "x-amzn-bedrock-")
_NO_TEXT: Final = re.compile(r"[\udc80-\udcff]")
"""Bytes that are not UTF-8, as "surrogateescape" decodes them."""
_REMEMBERED: Final = 1024
"""Maximum number of texts whose results are remembered: each request of a conversation repeats the earlier ones."""
_LONGEST_REMEMBERED: Final = 64 << 10


class Scrubber:
    """Remover of secrets. It is deterministic: the same text gives the same result. Thread-safe.

    masks: returns the configured mask, which may be set while a recording is open.
    scrub: the app's own function. It gets each JSON document (a body, an event of a stream, arguments or the result of
    a tool), or else the text, and returns the value to save.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        mask: Callable[[], Any] = lambda: None,
        scrub: Scrub | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._forms: tuple[str, ...] = ()
        self._mask = mask
        self._masks: tuple[Any, tuple[Mask, ...]] = (None, ())
        self._scrub = scrub
        self._forget()
        self.learn(of_environment(environ))

    def learn(self, secrets: Iterable[str]) -> None:
        """Remove these values from now on."""
        new = [secret for secret in secrets if secret not in self._secrets and is_secret(secret)]
        if not new:
            return
        with self._lock:
            for secret in new:
                self._secrets[secret] = tuple(dict.fromkeys(forms_of(secret)))
            while len(self._secrets) > MOST:
                del self._secrets[next(iter(self._secrets))]
            self._forms = tuple(
                sorted({form for forms in self._secrets.values() for form in forms}, key=len, reverse=True)
            )
            self._forget()

    def _forget(self) -> None:
        """Forget earlier results. Called after the secrets or the mask have changed, never before."""
        self._strings = lru_cache(_REMEMBERED)(self._string)
        self._texts = lru_cache(_REMEMBERED)(self._clean)
        self._uris = lru_cache(_REMEMBERED)(self._uri)

    def interaction(self, call: Interaction) -> Interaction:
        """Return a call as it is saved."""
        return replace(call, request=self.request(call.request), answer=self.answer(call.answer))

    def tool(self, call: ToolCall) -> ToolCall:
        """Return a tool call as it is saved."""
        return replace(
            call,
            arguments=self.value(dict(call.arguments)),
            result=self.value(call.result),
            error=None if call.error is None else self.text(call.error),
        )

    def request(self, sent: RecordedRequest) -> RecordedRequest:
        """Return a request as it is saved and compared."""
        self._refresh()
        self.learn(of_headers(sent.headers))
        headers = self._headers(sent.headers, [name for name in sent.headers if name in _REQUEST_HEADERS])
        uri = self._uris(sent.uri)
        body = self._body(sent.body, sent.headers.get("content-type", ""))
        return RecordedRequest(sent.method, uri, headers, body)

    def answer(self, answer: RecordedAnswer) -> RecordedAnswer:
        """Return a decompressed answer as it is saved."""
        self._refresh()
        self.learn(of_headers(answer.headers))
        names = [one for one in answer.headers if one in _ANSWER_HEADERS or one.startswith(_ANSWER_BEGINNINGS)]
        headers = self._headers(answer.headers, names)
        body = self._body(answer.body, answer.headers.get("content-type", ""))
        error = None if answer.error is None else self._clean(answer.error)
        return RecordedAnswer(answer.status, self._known(answer.reason), headers, body, answer.end, error)

    def value(self, value: Any) -> Any:
        """Return the JSON of a tool's arguments or result as it is saved."""
        self._refresh()
        return self._value(value)

    def text(self, text: str) -> str:
        """Return a text as it may be shown."""
        self._refresh()
        return self._clean(text)

    def _clean(self, text: str) -> str:
        return self._masked(self._without_secrets(text))

    def _value(self, value: Any) -> Any:
        return self._tree(value if self._scrub is None else self._scrub(value))

    def _headers(self, headers: Mapping[str, str], kept: Sequence[str]) -> dict[str, str]:
        return {name: self._known(headers[name]) for name in kept}

    def _known(self, text: str) -> str:
        """Return a text as it is saved, from memory if it was scrubbed before."""
        return self._texts(text) if len(text) <= _LONGEST_REMEMBERED else self._clean(text)

    def _uri(self, uri: str) -> str:
        url = urlsplit(uri)
        query = url.query
        if query:
            pairs = parse_qsl(query, keep_blank_values=True)
            kept = [(name, SHOWN if is_secret_parameter(name, value) else value) for name, value in pairs]
            if kept != pairs:
                self.learn(value for name, value in pairs if is_secret_parameter(name, value))
                query = urlencode(kept)
        place = url.netloc.rpartition("@")[2]
        return self._clean(urlunsplit(url._replace(netloc=place, query=query)))

    def _body(self, body: bytes, content_type: str) -> bytes:
        if not body:
            return body
        before = units_of(body, content_type)
        after = [self._unit(unit) for unit in before]
        return joined(self._across(after) if len(after) > 1 else after)

    def _unit(self, unit: Unit) -> Unit:
        if unit.content is NO_JSON:
            return self._plain(unit)
        try:
            content = self._value(unit.content)
            return unit if content == unit.content else unit.with_content(content)
        except RecursionError:  # Deeper than any client sends.
            return self._plain(unit)

    def _plain(self, unit: Unit) -> Unit:
        """Scrub a unit without JSON. If it is not UTF-8, such as a form with a file, its lines of text are scrubbed."""
        try:
            text = unit.raw.decode()
        except UnicodeDecodeError:
            text = self._without_secrets(unit.raw.decode("utf-8", "surrogateescape"))
            lines = [line if _NO_TEXT.search(line) else self._masked(line) for line in text.splitlines(keepends=True)]
            return unit.with_text("".join(lines).encode("utf-8", "surrogateescape"))
        if self._scrub is not None and text.strip():
            text = self._scrub(text)
            if not isinstance(text, str):
                raise RecordingError("scrub= must return a text if it gets a text.")
        return unit.with_text(self._clean(text).encode())

    def _tree(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._strings(value) if len(value) <= _LONGEST_REMEMBERED else self._string(value)
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {self._known(key): self._field(key, item, fields) for key, item in fields.items()}
        if isinstance(value, list):
            return [self._tree(item) for item in cast("Sequence[Any]", value)]
        return value

    def _string(self, text: str) -> str:
        return self._clean(self._inside(text))

    def _inside(self, text: str) -> str:
        """Scrub JSON inside a text of other JSON, such as the arguments of tools."""
        if text[:1] not in ("{", "["):
            return text
        try:
            value = json.loads(text)
            kept = self._tree(value)
            return text if kept == value else dump(kept, spaces=True)
        except (ValueError, RecursionError):
            return text

    def _field(self, name: str, value: Any, siblings: Mapping[str, Any]) -> Any:
        if isinstance(value, str) and is_secret_field(name, value, siblings):
            return SHOWN
        return self._tree(value)

    def _across(self, units: list[Unit]) -> list[Unit]:
        """Remove secrets that are split over several events of a stream: the first gets the whole text without them."""
        texts: dict[Path, list[tuple[int, Path]]] = {}
        for index, unit in enumerate(units):
            for shared, path, _ in deltas(unit.content):
                texts.setdefault(shared, []).append((index, path))
        for places in texts.values():
            whole = "".join(_at(units[index].content, path) for index, path in places)
            if (kept := self._clean(whole)) != whole:
                for index, path in places:
                    units[index] = units[index].with_content(_with(units[index].content, path, kept))
                    kept = ""
        return units

    def _without_secrets(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, SHOWN)
        return without_credentials(text)

    def _masked(self, text: str) -> str:
        return masked_text(text, self._masks[1])

    def _refresh(self) -> None:
        """Use the mask that is configured now."""
        mask = self._mask()
        if mask is self._masks[0]:
            return
        try:
            masks = () if mask is None else compile_masks(mask)
        except (TypeError, ValueError):  # reported at its configuration; fails closed
            masks = (mask_everything,)
        self._masks = (mask, masks)
        self._forget()


def _at(content: Any, path: Path) -> Any:
    for step in path:
        content = content[step]
    return content


def _with(content: Any, path: Path, value: str) -> Any:
    if not path:
        return value
    copied: Any = copy(content)
    copied[path[0]] = _with(content[path[0]], path[1:], value)
    return copied
