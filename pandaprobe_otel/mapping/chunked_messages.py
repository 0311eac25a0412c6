"""Joining of streamed answers whose emitter writes one message per chunk (Google ADK 2.13)."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.values import decoded


def joined(value: Any) -> Any:
    """Return the messages of an answer (JSON text or structured), with the chunks of each message joined.

    The conventions require a finish reason for each message. If the reason is empty, the message has not finished, and
    the next one continues it.
    """
    messages = decoded(value)
    if type_of(messages) is list:
        for message in messages:
            if type_of(message) is dict and message.get("finish_reason") == "":
                return _whole(messages)
    return messages


def _whole(messages: list[Any]) -> list[Any]:
    whole: list[Any] = []
    goes_on = False
    for message in messages:
        if goes_on and type_of(message) is dict:
            whole[-1] = {**whole[-1], **message, "parts": _parts(whole[-1], message)}
        else:
            whole.append(message)
        goes_on = _is_unfinished(message)
    return whole


def _is_unfinished(message: Any) -> bool:
    return type_of(message) is dict and message.get("finish_reason") == ""


def _parts(begun: dict[str, Any], piece: dict[str, Any]) -> list[Any]:
    parts: list[Any] = []
    for part in (*_listed(begun), *_listed(piece)):
        if parts and _runs_on(parts[-1], part):
            parts[-1] = {**parts[-1], "content": parts[-1]["content"] + part["content"]}
        else:
            parts.append(part)
    return parts


def _listed(message: dict[str, Any]) -> list[Any]:
    parts: Any = message.get("parts")
    return parts if type_of(parts) is list else []


def _runs_on(last: Any, part: Any) -> bool:
    if type_of(last) is not dict or type_of(part) is not dict or part.get("type") != last.get("type"):
        return False
    return type_of(last.get("content")) is str and type_of(part.get("content")) is str
