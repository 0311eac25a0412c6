"""The agent's actions as its endpoint recorded them: the reference for checking its traces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from pandaprobe_otel.demo.scripted_endpoint import Exchange

_FAILED: Final = "error: "
"""Prefix with which the quickstart reports a failed tool to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRun:
    """A tool call by the model, and the tool's result. `error` is None if the tool succeeded."""

    name: str
    arguments: Mapping[str, Any]
    result: Any
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One question and everything up to its answer."""

    question: str
    answer: str
    exchanges: tuple[Exchange, ...]
    tools: tuple[ToolRun, ...]


def turns_of(exchanges: Sequence[Exchange]) -> list[Turn]:
    """Split the exchanges of one conversation into turns, each beginning with a message of the user."""
    groups: list[list[Exchange]] = []
    for exchange in exchanges:
        if _last_message(exchange).get("role") == "user" or not groups:
            groups.append([])
        groups[-1].append(exchange)
    return [_turn(group) for group in groups]


def _turn(group: Sequence[Exchange]) -> Turn:
    return Turn(
        question=str(_last_message(group[0]).get("content")),
        answer=group[-1].reply.text or "",
        exchanges=tuple(group),
        tools=tuple(_tool_runs(group)),
    )


def _tool_runs(group: Sequence[Exchange]) -> Iterable[ToolRun]:
    for asked, told in pairwise(group):
        calls = asked.reply.tool_calls
        messages: Sequence[Mapping[str, Any]] = told.request["messages"]
        answers = messages[len(messages) - len(calls) :]
        for call, answer in zip(calls, answers, strict=True):
            content = str(answer["content"])
            failed = content.startswith(_FAILED)
            yield ToolRun(
                name=call.name,
                arguments=call.arguments,
                result=None if failed else json.loads(content),
                error=content.removeprefix(_FAILED) if failed else None,
            )


def _last_message(exchange: Exchange) -> Mapping[str, Any]:
    messages: Sequence[Mapping[str, Any]] = exchange.request["messages"]
    return messages[-1]
