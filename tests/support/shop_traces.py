"""Plausible traces of a web shop's support agent, in the form of `POST /traces`; they are the same on every run.

Ids and times derive from the number of a trace, so that pages with these traces can be compared and pictured. The
conversations are in `shop.yaml`.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import yaml

from pandaprobe_otel.local import LocalServer

PROJECT: Final = "support desk"
SOME_TIME: Final = dt.datetime(2026, 11, 20, 9, tzinfo=dt.UTC)
MODEL: Final = "gpt-5-mini"
SHOP: Final[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("shop.yaml").read_text(encoding="utf-8"))
CONVERSATIONS: Final[list[dict[str, Any]]] = SHOP["conversations"]


@dataclass(slots=True)
class _Writer:
    """Builder of one trace's spans; `at` is the time in seconds since the start of the trace."""

    number: int
    started: dt.datetime
    chance: random.Random
    at: float = 0.0
    spans: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def time(self, seconds: float) -> str:
        return (self.started + dt.timedelta(seconds=seconds)).isoformat()

    def span(self, name: str, kind: str, seconds: float, *, below: int = 1, **fields: Any) -> dict[str, Any]:
        """Add a span that begins now and takes so long, below the one at this position."""
        ids = [str(UUID(int=(self.number << 16) + position)) for position in (len(self.spans) + 1, below)]
        span = {
            "span_id": ids[0],
            "parent_span_id": ids[1] if self.spans else None,
            "name": name,
            "kind": kind,
            "status": "OK",
            "started_at": self.time(self.at),
            "ended_at": self.time(self.at + seconds),
            **fields,
        }
        self.spans.append(span)
        return span

    def call_model(self, history: list[dict[str, Any]], reply: dict[str, Any]) -> None:
        """Add a model call, and its answer to the history."""
        prompt, completion = 420 + 60 * len(history), 18 + len(str(reply)) // 4
        seconds = self.chance.uniform(0.8, 1.9)
        self.span(
            f"chat {MODEL}",
            "LLM",
            seconds,
            model=MODEL,
            input={"messages": list(history)},
            output={"messages": [reply]},
            token_usage={"prompt_tokens": prompt, "completion_tokens": completion, "cache_read_tokens": prompt // 2},
            cost={"input": prompt * 2.5e-7, "output": completion * 2e-6, "total": prompt * 2.5e-7 + completion * 2e-6},
            model_parameters={"temperature": 0.2, "max_tokens": 400},
            metadata={"provider": "openai", "tools": SHOP["tools"], "finish_reason": "stop"},
            completion_start_time=self.time(self.at + self.chance.uniform(0.25, 0.5)),
        )
        history.append(reply)
        self.at += seconds

    def run_tools(self, history: list[dict[str, Any]], uses: Sequence[Mapping[str, Any]]) -> None:
        """Let a model call tools, and add their spans, which overlap."""
        calls = [
            {"id": f"call_{at}", "type": "function", "function": {key: use[key] for key in ("name", "arguments")}}
            for at, use in enumerate(uses)
        ]
        self.call_model(history, {"role": "assistant", "content": None, "tool_calls": calls})
        longest = 0.0
        for call, use in zip(calls, uses, strict=True):
            result = {key: use[key] for key in ("output", "error") if key in use}
            seconds = 2.4 if "error" in use else self.chance.uniform(0.1, 0.6)
            status = "ERROR" if "error" in use else "OK"
            self.span(use["name"], "TOOL", seconds, input=use["arguments"], **{**result, "status": status})
            (content,) = map(str, result.values())
            history.append({"role": "tool", "name": use["name"], "tool_call_id": call["id"], "content": content})
            longest = max(longest, self.at + seconds)
            self.at += 0.01
        self.at = longest


def trace_id(number: int) -> str:
    """Return the id of the trace with this number."""
    return str(UUID(int=(number << 16) + 0xFFFF))


def shop_trace(
    number: int,
    conversation: int,
    turn: int,
    started: dt.datetime,
    session: str,
    **fields: Any,
) -> dict[str, Any]:
    """Return one turn of a conversation as the body of `POST /traces`; the agent first searches for similar chats."""
    talk = CONVERSATIONS[conversation % len(CONVERSATIONS)]
    *before, now = talk["turns"][: turn + 1]
    question, answer = (
        {"role": role, "content": now[key]} for role, key in (("user", "question"), ("assistant", "answer"))
    )
    history: list[dict[str, Any]] = [{"role": "system", "content": SHOP["system"]}]
    for earlier in before:
        history += [
            {"role": "user", "content": earlier["question"]},
            {"role": "assistant", "content": earlier["answer"]},
        ]
    history.append(question)
    sides: dict[str, Any] = {"input": {"messages": [question]}, "output": {"messages": [answer]}}
    writer = _Writer(number, started, random.Random(number))
    root = writer.span("support agent", "AGENT", 0, metadata={"version": "2.3"}, **sides)
    found = [{"chat": 5120, "score": 0.71}, {"chat": 4977, "score": 0.69}]
    writer.span("recall similar chats", "RETRIEVER", 0.08, input=now["question"], output=found)
    usage = {"prompt_tokens": len(now["question"]) // 4, "completion_tokens": 0}
    model = "text-embedding-3-small"
    writer.span(f"embed {model}", "EMBEDDING", 0.06, below=2, model=model, token_usage=usage)
    writer.at = 0.08
    if now["tools"]:
        writer.run_tools(history, now["tools"])
    writer.call_model(history, answer)
    root["ended_at"] = writer.time(writer.at + 0.004)
    return {
        "trace_id": trace_id(number),
        "name": "support agent",
        "started_at": writer.time(0),
        "ended_at": root["ended_at"],
        "status": "ERROR" if any("error" in span for span in writer.spans) else "COMPLETED",
        "session_id": session,
        "user_id": talk["user"],
        "tags": ["web", "german"] if conversation == 0 else ["web"],
        "environment": "production",
        "release": "2.3.1",
        "metadata": {"channel": "web chat", "experiment": {"prompt": "short-answers", "arm": "B"}},
        **sides,
        "spans": writer.spans,
        **fields,
    }


def fill(
    server: LocalServer,
    *,
    days: int = 14,
    releases: Sequence[str] = ("2.3.1",),
) -> None:
    """Send a server the conversations of some days, and scores for each trace; the newest trace is two minutes old.

    releases: releases of the app, each for an equal part of the time.
    """
    end = dt.datetime.now(dt.UTC)
    headers = {"X-API-Key": server.api_key, "X-Project-Name": PROJECT}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
        number = 0
        for day in range(days, -1, -1):
            release = releases[(days - day) * len(releases) // (days + 1)]
            for conversation in range(len(CONVERSATIONS)):
                for turn in range(len(CONVERSATIONS[conversation]["turns"])):
                    begun = end - dt.timedelta(days=day, minutes=62 - 20 * conversation - 4 * turn)
                    session = f"chat-{4100 + 3 * (days - day) + conversation}"
                    body = shop_trace(number, conversation, turn, begun, session, release=release)
                    http.post("/traces", json=body).raise_for_status()
                    _score(http, body, number, days - day)
                    number += 1
    _backdate_scores(server)


def _score(http: httpx.Client, body: Mapping[str, Any], number: int, day: int) -> None:
    chance = random.Random(number)
    failed = body["status"] == "ERROR"
    better = min(1.0, 0.62 + 0.022 * day + chance.uniform(-0.09, 0.09))
    scores = {
        "task_completion": (0.31, "The refund was asked for and not booked.") if failed else (better, _REASON),
        "tool_correctness": (0.55 if failed else min(1.0, better + 0.08), "look_up_order was called before answering."),
        "politeness": (chance.choice((0.8, 0.9, 1.0)), "Friendly, and apologises once."),
    }
    for name, (value, reason) in scores.items():
        score = {"trace_id": body["trace_id"], "name": name, "value": f"{value:.2f}", "reason": reason}
        http.post("/evaluations/trace-scores", json={**score, "source": "PROGRAMMATIC"}).raise_for_status()


_REASON = "The customer got a date and a label, both from tools; nothing was made up."


def _backdate_scores(server: LocalServer) -> None:
    """Set the times of scores to the ends of their traces, since the server dates scores by arrival."""
    with server.services.database.write() as connection:
        connection.execute(
            "UPDATE trace_scores SET created_at = ended, updated_at = ended FROM"
            " (SELECT trace_id AS id, ended_at AS ended FROM traces) AS done WHERE trace_scores.trace_id = done.id"
        )
