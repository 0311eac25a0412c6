"""A program to record and fork: it plans, looks up two orders in parallel, sums up, refunds, and thanks."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any

import openai

from pandaprobe_otel import agent, span, tool
from provider_server import Received, Reply, json_reply

URL = "SHOP_URL"
ran: list[str] = []
"""Tool calls that were really executed."""


@tool
def look_up(number: str) -> dict[str, str]:
    """Look up an order."""
    ran.append(f"look_up {number}")
    return {"number": number, "status": "lost"}


@tool
def refund(reason: str) -> str:
    """Refund an order: what nobody wants to happen twice."""
    ran.append(f"refund {reason}")
    return "refunded"


@cache
def _client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="sk-none", max_retries=0)


def _ask(system: str, question: str, model: str = "big") -> str:
    messages: Any = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    answer = _client(os.environ[URL]).chat.completions.create(model=model, messages=messages)
    return answer.choices[0].message.content or ""


def _branch(number: str) -> str:
    with span(f"check {number}"):
        order = look_up(number)
        return _ask("You check orders.", json.dumps(order), model="small")


@agent
def shop(question: str) -> str:
    """Answer a question with five model calls and three tool calls."""
    with span("plan"):
        plan = _ask("You plan.", question)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(copy_context().run, _branch, number) for number in ("A-1", "A-2")]
        found = [job.result() for job in jobs]
    with span("sum up"):
        reason = _ask("You sum up.", f"{plan} {found}")
    refund(reason)
    with span("thank"):
        return _ask("You thank.", reason)


def answer(received: Received) -> Reply:
    """Answer with a short text that changes with the model and the prompt."""
    body = received.json
    system, question = (message["content"] for message in body["messages"])
    text = f"{body['model']}/{system.split()[-1]}/{len(question)}"
    usage = {"prompt_tokens": len(question), "completion_tokens": len(text), "total_tokens": len(question) + len(text)}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json_reply(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
            "usage": usage,
        }
    )
