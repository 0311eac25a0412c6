"""Division of a JSON request into spans by its bytes, before anything is parsed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NoReturn

import orjson

from pandaprobe_otel.gateway.bounds import MOST_FRAMES
from pandaprobe_otel.gateway.errors import OverBoundError, RefusedError, too_many, unreadable
from pandaprobe_otel.gateway.json_values import parsed

_DEEPEST: Final = 150
"""Maximum number of nested brackets inside a span. Protobuf's own limit of 100 messages allows values with 147."""
_SPACE: Final = rb"[ \t\n\r]*+"
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_FLAT: Final = rb'[^"{}\[\]]++|' + _STRING
_MEMBER: Final = re.compile(_SPACE + b"(" + _STRING + b")" + _SPACE + b":" + _SPACE, re.DOTALL)
_AFTER: Final = re.compile(_SPACE + rb"([,}\]]?)" + _SPACE, re.DOTALL)
_BLANK: Final = re.compile(_SPACE)


@cache
def _values() -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return the patterns of an object and of any value.

    They match any text with balanced brackets. No byte is tried twice, since all repeats are possessive. Compiling
    takes a tenth of a second, so it is done at the first JSON request.
    """
    inner = b"(?:" + _FLAT + b")*+"
    for _ in range(_DEEPEST):
        inner = b"(?:" + _FLAT + rb"|[{\[]" + inner + rb"[}\]])*+"
    any_value = _STRING + rb"|[{\[]" + inner + rb'[}\]]|[^ \t\n\r,"{}\[\]]++'
    return re.compile(rb"\{" + inner + rb"\}", re.DOTALL), re.compile(any_value, re.DOTALL)


@dataclass(slots=True)
class Frame:
    """A resource or scope without its scopes or spans: the other members' bytes, and the scopes or span positions."""

    own: bytes = b"{}"
    inner: list[Any] = field(default_factory=list[Any])


class JsonFrames:
    """Finder of the resources, scopes and spans in a request. It counts all of them, up to `MOST_FRAMES`."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._object, self._value = _values()
        self._left = MOST_FRAMES
        self._at = 0

    def request(self) -> list[Frame]:
        """Return the resources with their scopes, and the scopes with the start and end of each span.

        Raises RefusedError if the bytes are not such a request, or if it has too many resources, scopes and spans.
        """
        self._blank()
        request = self._frame("resourceSpans", self._resource)
        if self._at < len(self._body):
            self._fail("there are bytes after the object")
        try:
            members = parsed(request.own, 0, len(request.own))
        except OverBoundError as error:
            raise too_many("too many objects and values in JSON") from error
        except ValueError as error:
            raise _malformed(str(error)) from error
        if "resource_spans" in members:
            self._fail("names must be in lowerCamelCase: resourceSpans, not resource_spans")
        return request.inner

    def _resource(self) -> Frame:
        return self._frame("scopeSpans", self._scope)

    def _scope(self) -> Frame:
        return self._frame("spans", self._span)

    def _span(self) -> tuple[int, int]:
        found = self._object.match(self._body, self._at)
        if found is None:
            self._fail("a span is not an object, is not closed, or is nested too deeply")
        self._at = found.end()
        return found.span()

    def _frame(self, name: str, read: Callable[[], Any]) -> Frame:
        """Read the object that begins here. `read` reads each element of the object's list `name`."""
        body, frame = self._body, Frame()
        own: list[bytes] = []
        if not body.startswith(b"{", self._at):
            self._fail("it is not an object")
        self._at += 1
        self._blank()
        is_over = body.startswith(b"}", self._at)
        self._at += is_over
        while not is_over:
            member = _MEMBER.match(body, self._at)
            if member is None:
                self._fail("a name is missing")
            self._at = member.end()
            if self._is(member[1], name):
                frame.inner = self._list(name, read)
            else:
                self._skip()
                own.append(bytes(body[member.start() : self._at]))
            is_over = self._is_last(b"}")
        self._blank()
        frame.own = b"{" + b",".join(own) + b"}"
        return frame

    def _list(self, name: str, read: Callable[[], Any]) -> list[Any]:
        body, items = self._body, list[Any]()
        if body.startswith(b"null", self._at):
            self._at += 4
            return items
        if not body.startswith(b"[", self._at):
            self._fail(f"{name} is not a list")
        self._at += 1
        self._blank()
        is_over = body.startswith(b"]", self._at)
        self._at += is_over
        while not is_over:
            self._left -= 1
            if self._left < 0:
                raise too_many(f"more than {MOST_FRAMES} spans, scopes and resources")
            if not body.startswith(b"{", self._at):
                self._fail(f"{name} contains something that is not an object")
            items.append(read())
            is_over = self._is_last(b"]")
        return items

    def _skip(self) -> None:
        found = self._value.match(self._body, self._at)
        if found is None:
            self._fail("a value is missing, is not closed, or is nested too deeply")
        self._at = found.end()

    def _is_last(self, end: bytes) -> bool:
        """Move past the separator after an element or member; return whether the list or object ends there."""
        found = _AFTER.match(self._body, self._at)
        assert found is not None
        if found[1] not in (b",", end):
            self._fail("a comma or a bracket is missing")
        self._at = found.end()
        return found[1] == end

    def _blank(self) -> None:
        found = _BLANK.match(self._body, self._at)
        assert found is not None
        self._at = found.end()

    @staticmethod
    def _is(encoded: bytes, name: str) -> bool:
        """Return whether a JSON name, which may have escapes, equals this one."""
        if b"\\" not in encoded:
            return encoded[1:-1] == name.encode()
        try:
            return bool(orjson.loads(encoded) == name)
        except orjson.JSONDecodeError:
            return False

    def _fail(self, why: str) -> NoReturn:
        raise _malformed(f"{why} (byte {self._at})")


def _malformed(why: str) -> RefusedError:
    return unreadable(f"the body is not an ExportTraceServiceRequest in JSON: {why}")
