"""Plausible traces of a web shop's support agent, in the form of `POST /traces`; they are the same on every run.

Ids and times derive from the number of a trace, so that pages with these traces can be compared and pictured.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import httpx

from pandaprobe_otel.local import LocalServer

PROJECT: Final = "support desk"
SOME_TIME: Final = dt.datetime(2026, 11, 20, 9, tzinfo=dt.UTC)
MODEL: Final = "gpt-5-mini"
TOOLS: Final = (
    ("look_up_order", "Find an order by its number."),
    ("search_help_center", "Search articles for customers."),
    ("create_return_label", "Make a prepaid return label."),
    ("refund_order", "Refund an order in full or in part."),
    ("hand_over_to_human", "Put the conversation into a colleague's queue."),
)
SYSTEM: Final = (
    "You help customers of Bamboo & Co. Look things up before you answer, never promise a date that no tool gave you, "
    "and keep answers below five sentences."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A customer's conversation, turn by turn: question, tools with arguments and results, answer."""

    user: str
    turns: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Any], Any]], str]]


_FOUND = {"order": 7431, "status": "in transit", "carrier": "DHL", "expected": "2026-11-26"}
CONVERSATIONS: Final = (
    Conversation(
        user="mira.hofmann",
        turns=(
            (
                "Where is my order 7431? It was meant to be a birthday present.",
                (("look_up_order", {"number": 7431}, _FOUND),),
                (
                    "Order 7431 is in transit with DHL and expected on 26 November. I can write to you when it "
                    "is at the door, if you like."
                ),
            ),
            (
                "That is too late. Can I send it back when it comes?",
                (
                    (
                        "search_help_center",
                        {"query": "return period", "limit": 3},
                        [{"title": "Returns within 30 days", "score": 0.91}, {"title": "Damaged goods", "score": 0.48}],
                    ),
                    ("create_return_label", {"order": 7431}, {"label": "RET-7431-DE", "valid_until": "2026-12-26"}),
                ),
                (
                    "Yes, within 30 days of delivery. I have made a prepaid label for you: **RET-7431-DE**, valid "
                    "until 26 December."
                ),
            ),
            ("Great, thank you!", (), "You are welcome, and a happy birthday to whoever it was for."),
        ),
    ),
    Conversation(
        user="jonas.weber",
        turns=(
            (
                "My blender arrived broken, I want my money back.",
                (
                    ("look_up_order", {"number": 7502}, {"order": 7502, "status": "delivered", "total": 89.9}),
                    ("refund_order", {"order": 7502, "amount": 89.9}, RuntimeError("payment service timed out: 8.0 s")),
                    ("hand_over_to_human", {"reason": "refund failed"}, {"queue": "payments", "position": 3}),
                ),
                (
                    "I am sorry about that. The refund could not be booked just now, so a colleague from payments "
                    "takes over; you are number 3 in the queue."
                ),
            ),
            (
                "How long will that take?",
                (("search_help_center", {"query": "refund duration"}, [{"title": "Refunds", "score": 0.88}]),),
                "Refunds usually arrive within five working days after they were booked.",
            ),
        ),
    ),
    Conversation(
        user="aiko.tanaka",
        turns=(
            (
                "Do you ship to Japan, and what does it cost for 2 kg?",
                (
                    ("search_help_center", {"query": "shipping Japan"}, [{"title": "International", "score": 0.95}]),
                    ("search_help_center", {"query": "shipping cost 2 kg"}, [{"title": "Rates", "score": 0.83}]),
                ),
                "Yes. Up to 2 kg to Japan costs 24.90 EUR and takes six to nine days; duties are paid on delivery.",
            ),
        ),
    ),
)


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

    def open(self, name: str, kind: str, parent: str | None, **fields: Any) -> dict[str, Any]:
        span = {
            "span_id": str(UUID(int=(self.number << 16) + len(self.spans) + 1)),
            "parent_span_id": parent,
            "name": name,
            "kind": kind,
            "status": "OK",
            "started_at": self.time(self.at),
            **fields,
        }
        self.spans.append(span)
        return span

    def close(self, span: dict[str, Any], after: float) -> None:
        self.at += after
        span["ended_at"] = self.time(self.at)


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
    question, uses, answer = talk.turns[turn]
    writer = _Writer(number, started, random.Random(number))
    root = writer.open("support agent", "AGENT", None, input=_messages("user", question), metadata={"version": "2.3"})
    history = [{"role": "system", "content": SYSTEM}]
    for earlier, _, reply in talk.turns[:turn]:
        history += [{"role": "user", "content": earlier}, {"role": "assistant", "content": reply}]
    history.append({"role": "user", "content": question})
    _retrieve(writer, root["span_id"], question)
    if uses:
        _call_model(writer, root["span_id"], history, None, [(name, arguments) for name, arguments, _ in uses])
        failed = _run_tools(writer, root["span_id"], history, uses)
    else:
        failed = False
    _call_model(writer, root["span_id"], history, answer, ())
    root["output"] = _messages("assistant", answer)
    writer.close(root, 0.004)
    return {
        "trace_id": trace_id(number),
        "name": "support agent",
        "started_at": writer.time(0),
        "ended_at": root["ended_at"],
        "status": "ERROR" if failed else "COMPLETED",
        "session_id": session,
        "user_id": talk.user,
        "tags": ["web", "german"] if conversation == 0 else ["web"],
        "environment": "production",
        "release": "2.3.1",
        "metadata": {"channel": "web chat", "experiment": {"prompt": "short-answers", "arm": "B"}},
        "input": _messages("user", question),
        "output": _messages("assistant", answer),
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
                for turn in range(len(CONVERSATIONS[conversation].turns)):
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


def _retrieve(writer: _Writer, parent: str, question: str) -> None:
    span = writer.open("recall similar chats", "RETRIEVER", parent, input=question)
    inner = writer.open("embed text-embedding-3-small", "EMBEDDING", span["span_id"], model="text-embedding-3-small")
    inner["token_usage"] = {"prompt_tokens": len(question) // 4, "completion_tokens": 0}
    writer.close(inner, writer.chance.uniform(0.03, 0.09))
    span["output"] = [{"chat": 5120, "score": 0.71}, {"chat": 4977, "score": 0.69}]
    writer.close(span, writer.chance.uniform(0.01, 0.03))


def _call_model(
    writer: _Writer,
    parent: str,
    history: list[dict[str, Any]],
    answer: str | None,
    calls: Sequence[tuple[str, Mapping[str, Any]]],
) -> None:
    asked = [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": dict(arguments)}}
        for number, (name, arguments) in enumerate(calls)
    ]
    reply: dict[str, Any] = {"role": "assistant", "content": answer}
    if asked:
        reply["tool_calls"] = asked
    prompt, completion = 420 + 60 * len(history), 18 + len(answer or "") // 4 + 24 * len(asked)
    span = writer.open(
        f"chat {MODEL}",
        "LLM",
        parent,
        model=MODEL,
        input={"messages": list(history)},
        output={"messages": [reply]},
        token_usage={"prompt_tokens": prompt, "completion_tokens": completion, "cache_read_tokens": prompt // 2},
        cost={"input": prompt * 2.5e-7, "output": completion * 2e-6, "total": prompt * 2.5e-7 + completion * 2e-6},
        model_parameters={"temperature": 0.2, "max_tokens": 400},
        metadata={
            "provider": "openai",
            "tools": [{"name": name, "description": what} for name, what in TOOLS],
            "finish_reason": "stop",
        },
        completion_start_time=writer.time(writer.at + writer.chance.uniform(0.25, 0.5)),
    )
    history.append(reply)
    writer.close(span, writer.chance.uniform(0.8, 1.9))


def _run_tools(
    writer: _Writer, parent: str, history: list[dict[str, Any]], uses: Sequence[tuple[str, Mapping[str, Any], Any]]
) -> bool:
    failed = False
    begun, longest = writer.at, 0.0
    for number, (name, arguments, result) in enumerate(uses):
        writer.at = begun + 0.01 * number
        span = writer.open(name, "TOOL", parent, input=dict(arguments))
        took = writer.chance.uniform(0.1, 0.6)
        if isinstance(result, Exception):
            failed, took = True, 2.4
            span |= {"status": "ERROR", "error": f"{type(result).__name__}: {result}"}
        else:
            span["output"] = result
        writer.close(span, took)
        longest = max(longest, writer.at)
        said = span.get("error") or span["output"]
        history.append({"role": "tool", "name": name, "tool_call_id": f"call_{number}", "content": str(said)})
    writer.at = longest
    return failed


def _messages(role: str, text: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text}]}
