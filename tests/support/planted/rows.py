"""Rows of the table of planted calls, `calls.yaml`, and the marks that replace the signs in their data.

| sign | mark |
|---|---|
| `~` in a text | a text that occurs nowhere else |
| `~question`, `~answer` | such a text, which must be in the messages of the model's input or output |
| `#` | a number that occurs nowhere else |
| `#in`, `#out` | such a number, which must be the span's number of input or output tokens |
| `%` | bytes in base64, `data:%` in a data URL, `b"%"` as they are; the trace has their digest |
| `!` | a credential, which must not be recorded |
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import yaml

from bedrock_traffic import OLD
from like_openai import CLIENTS

from .replies import REPLIES, Replies, refused

SEALED: Final = "sealed-credential"
_SIGN: Final = re.compile(r"~(question|answer)?")
_numbers: Final = count(1)


@dataclass(slots=True)
class Plants:
    """Marks of one call, by the path of the place that contains them."""

    marks: dict[str, str] = field(default_factory=dict[str, str])
    placed: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    """Marks with a certain place: `question`, `answer`, `in` or `out`, and the mark."""

    def fill(self, value: Any, path: str) -> Any:
        """Return the value with marks in place of its signs."""
        if isinstance(value, dict):
            return {self.fill(key, f"{path}.{key}"): self.fill(one, f"{path}.{key}") for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.fill(one, f"{path}.{index}") for index, one in enumerate(value))
        if value in ("#", "#in", "#out"):
            return self._number(value[1:], path)
        if value in ("%", "data:%", b"%"):
            return self._picture(value, path)
        if value == "!":
            return SEALED
        return _SIGN.sub(partial(self._text, path), value) if isinstance(value, str) else value

    def missing(self, recorded: Any) -> list[str]:
        """Return the places whose marks are not in the recorded values."""
        found = json.dumps(recorded, default=str)
        return [place for place, mark in self.marks.items() if mark not in found]

    def _text(self, path: str, sign: re.Match[str]) -> str:
        mark = f"planted{next(_numbers):06}x"
        self.marks[f"{path} {mark}"] = mark
        if sign[1]:
            self.placed.append((sign[1], mark))
        return mark

    def _number(self, place: str, path: str) -> int:
        number = 7_000_001 + 1000 * next(_numbers)
        self.marks[path] = str(number)
        if place:
            self.placed.append((place, number))
        return number

    def _picture(self, sign: str | bytes, path: str) -> str | bytes:
        data = f"picture {next(_numbers)}".encode()
        self.marks[path] = hashlib.sha256(data).hexdigest()
        encoded = base64.b64encode(data).decode()
        return (
            data if isinstance(sign, bytes) else sign.replace("data:%", "data:image/png;base64,%").replace("%", encoded)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One call: the adapter's title in the conformance suite, the dotted method, its arguments, and the answer."""

    client: str
    method: str
    request: dict[str, Any]
    answer: Any
    operation: str
    """Name of the span's operation."""
    replies: Replies


class _Loader(yaml.SafeLoader):
    """A loader of YAML that also makes bytes and tuples."""


def _tuple(loader: yaml.SafeLoader, node: Any) -> Any:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("!bytes", lambda loader, node: str(node.value).encode())
_Loader.add_constructor("!tuple", _tuple)


def table(name: str) -> Any:
    """Return a table of this folder."""
    return yaml.load(Path(__file__).with_name(name).read_text(encoding="utf-8"), _Loader)


def _rows() -> Iterator[tuple[str, Row]]:
    """Yield the calls of the table by name; a row may be for several clients."""
    calls = table("calls.yaml")
    if OLD:  # botocore refuses what it does not know
        for newer in ("requestMetadata", "performanceConfig"):
            del calls["shared"]["bedrock_request"][newer]
        content = calls["shared"]["bedrock_answer"]["output"]["message"]["content"]
        content[:] = [block for block in content if "citationsContent" not in block]
    for row in calls["rows"]:
        clients = ("openai", *CLIENTS) if row["client"] == "like OpenAI" else row["client"]
        for client in [clients] if isinstance(clients, str) else clients:
            yield (
                " ".join(filter(None, (client, row["method"], row.get("name")))),
                Row(
                    client=client,
                    method=row["method"],
                    request=row["request"],
                    answer=row["answer"],
                    operation=row.get("operation", "chat"),
                    replies=REPLIES[row.get("replies", "document")],
                ),
            )


ROWS: Final = dict(_rows())


def made(row: Row, client: Any, request: dict[str, Any]) -> list[Any]:
    """Make the call and read its answer; return types and contents that the app sees."""
    method = client
    for step in row.method.split("."):
        method = getattr(method, step)
    if row.method == "invoke_model":
        request = {**request, "body": json.dumps(request["body"])}
    try:
        result = method(**request)
        seen: list[Any] = [type(result)]
        if row.client.startswith("Bedrock") and {"body", "stream"} & {*result}:
            result = result.get("body") or result["stream"]
        if hasattr(result, "read"):
            return [*seen, result.read()]
        return [*seen, *map(repr, result if isinstance(result, Iterable) else [result])]
    except Exception as error:
        if row.replies is not refused:
            raise
        return [type(error), str(error)]
