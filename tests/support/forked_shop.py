"""Programs to record and fork: a shop that plans, looks up two orders, sums up, refunds and thanks; one request."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any, Final
from urllib.parse import unquote

import aiohttp
import boto3
import httpx
import httpx2
import openai
import requests

from pandaprobe_otel import agent, span, tool
from pandaprobe_otel.evals import TaskRun
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


def is_brief(run: TaskRun) -> bool:
    """Return whether the shop has thanked in few words."""
    return len(run.output) < 16


def is_not_brief(run: TaskRun) -> bool:
    """Return whether the shop has thanked in many words."""
    return not is_brief(run)


def _httpx_async(url: str, body: Any) -> Any:
    async def ask() -> Any:
        async with httpx.AsyncClient() as client:
            return (await client.post(url, json=body)).json()

    return asyncio.run(ask())


def _aiohttp(url: str, **content: Any) -> Any:
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session, session.post(url, **content) as answer:
            return await answer.json()

    return asyncio.run(ask())


def _boto3(url: str, body: Any) -> Any:
    address, _, rest = url.partition("/model/")
    model, _, operation = rest.partition("/")
    client: Any = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=address)
    try:
        if operation == "converse":
            return client.converse(modelId=unquote(model), **body)["output"]
        return len(list(client.converse_stream(modelId=unquote(model), **body)["stream"]))
    finally:
        client.close()


LIBRARIES: Final[dict[str, Callable[[str, Any], Any]]] = {
    "httpx": lambda url, body: httpx.post(url, json=body).json(),
    "httpx async": _httpx_async,
    "httpx2": lambda url, body: httpx2.post(url, json=body).json(),
    "requests": lambda url, body: requests.post(url, json=body, timeout=20).json(),
    "aiohttp": lambda url, body: _aiohttp(url, json=body),
    "aiohttp with text": lambda url, body: _aiohttp(
        url, data=json.dumps(body), headers={"content-type": "application/json"}
    ),
    "boto3": _boto3,
}


def post(library: str, path: str, body: dict[str, Any]) -> Any:
    """Send one request with an HTTP library, and return the content of the answer."""
    return LIBRARIES[library](f"{os.environ[URL]}{path}", body)
