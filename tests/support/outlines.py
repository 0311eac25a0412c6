"""Mapped traces written as short outlines, to compare by eye with their recordings.

The trace has one line, and each span has one, indented as in the tree:

    trace NAME | STATUS | session S | user U | QUESTION > ANSWER
    KIND NAME @MODEL | INPUT > OUTPUT | PROMPT/COMPLETION cREAD wWRITTEN rREASONING !ERROR

Conversations are written as the roles of their messages: system or developer, user, assistant (`c` if it only calls
tools, `ac` if it also has text), tool. Other content is JSON on tool spans; elsewhere objects are written as
their keys, lists as their length. Absent parts are left out; `-` is an absent side of `>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]
_MAX_ERROR = 80
_ROLES = {"system": "s", "developer": "s", "user": "u", "tool": "t"}


def written(path: Path) -> dict[str, str]:
    """Return the outlines of a file by capture; each block begins with `== capture [capture ...]`."""
    outlines: dict[str, str] = {}
    for block in path.read_text(encoding="utf-8").split("== ")[1:]:
        names, _, lines = block.partition("\n")
        outlines.update(dict.fromkeys(names.split(), lines.strip("\n")))
    return outlines


def outline(traces: list[dict[str, Any]]) -> str:
    """Return the outline of the bodies of traces."""
    return "\n".join(line for trace in traces for line in _lines(trace))


def _lines(trace: Json) -> Iterator[str]:
    columns = [f"trace {trace['name']}", trace["status"]]
    columns += [f"{label} {trace[f'{label}_id']}" for label in ("session", "user") if f"{label}_id" in trace]
    yield " | ".join(columns + _sides(_words(trace.get("input")), _words(trace.get("output"))))
    children: dict[str | None, list[Json]] = {}
    known = {span["span_id"] for span in trace["spans"]}
    for span in trace["spans"]:
        parent = span.get("parent_span_id")
        children.setdefault(parent if parent in known else None, []).append(span)
    yield from _tree(children, None, "")


def _tree(children: Mapping[str | None, list[Json]], parent: str | None, indent: str) -> Iterator[str]:
    for span in children.get(parent, ()):
        yield indent + _line(span)
        yield from _tree(children, span["span_id"], indent + "  ")


def _line(span: Json) -> str:
    title = f"{span['kind']} {span['name']}" + (f" @{span['model']}" if "model" in span else "")
    sides = [_side(span.get(side), whole=span["kind"] == "TOOL") for side in ("input", "output")]
    columns = [title, *_sides(*sides)]
    if "token_usage" in span:
        columns.append(_usage(span["token_usage"]))
    error = f" !{span['error'].splitlines()[0][:_MAX_ERROR]}" if span["status"] == "ERROR" else ""
    return " | ".join(columns) + error


def _sides(before: str, after: str) -> list[str]:
    return [f"{before} > {after}"] if (before, after) != ("-", "-") else []


def _side(value: Any, *, whole: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        return "".join(map(_role, value["messages"]))
    if whole or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "{" + ",".join(value) + "}" if isinstance(value, dict) else f"[{len(value)}]"


def _role(message: Json) -> str:
    if message["role"] in _ROLES:
        return _ROLES[message["role"]]
    return ("a" if message["content"] else "") + ("c" if "tool_calls" in message else "")


def _words(value: Any) -> str:
    if not isinstance(value, dict) or "messages" not in value:
        return _side(value, whole=True)
    (message,) = value["messages"]
    if message["content"] is None:
        return "call " + ",".join(call["function"]["name"] for call in message["tool_calls"])
    return str(message["content"]).replace("\n", "\\n")


def _usage(usage: Json) -> str:
    sides = "/".join(str(usage.get(f"{side}_tokens", "-")) for side in ("prompt", "completion"))
    details = {"c": "cache_read_tokens", "w": "cache_creation_tokens", "r": "reasoning_tokens"}
    return " ".join([sides, *(f"{letter}{usage[key]}" for letter, key in details.items() if key in usage)])
