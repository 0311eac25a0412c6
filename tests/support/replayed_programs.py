"""Ten programs in the style of each client's documentation: parallel tools, streams, retries, structured output.

Each program is a function of its endpoint's URL, traced by the integration of its client and by decorators. Its tools
note in `DONE` what they did.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import anthropic
import boto3
import cohere
import google.genai
import mistralai.client
import ollama
import openai
from botocore.config import Config
from pydantic import BaseModel

import pandaprobe_otel
from conformance.libraries import bedrock as bedrock_wire
from conformance.libraries import cohere as cohere_wire
from conformance.libraries import ollama as ollama_wire
from litellm_library import litellm
from pandaprobe_otel.capture.trace_context import context_executor
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall
from provider_server import Received, json_reply
from provider_server import Reply as HttpReply

DONE: Final[list[str]] = []
QUESTION: Final = "What is the weather in Paris, and what time is it there?"
SCHEMAS: Final = [
    {
        "name": name,
        "description": f"{name} of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    }
    for name in ("get_weather", "get_time")
]
FUNCTIONS: Final[list[Any]] = [{"type": "function", "function": schema} for schema in SCHEMAS]


@pandaprobe_otel.tool
def get_weather(place: str = "Paris") -> str:
    """Return the weather of a place."""
    DONE.append("weather")
    return f"sunny in {place}"


@pandaprobe_otel.tool
def get_time(place: str = "Paris") -> str:
    """Return the time at a place."""
    DONE.append("time")
    return f"noon in {place}"


def use(name: str, arguments: Any) -> str:
    """Run the tool that a model has asked for."""
    given = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
    return str({"get_weather": get_weather, "get_time": get_time}[name](**given))


_POEMS: Final = threading.Barrier(3)


def _wait_for_the_others() -> None:
    """Answer no poem before all three are asked for; otherwise, one might end before another begins."""
    try:
        _POEMS.wait(5)
    except threading.BrokenBarrierError:  # a replay asks for fewer
        _POEMS.reset()


def script(messages: Sequence[Message]) -> Reply:
    """Call both tools at once, then answer; answer in JSON if asked to."""
    last = str(messages[-1])
    if "as JSON" in last:
        return Reply(text='{"place": "Paris", "degrees": 21}')
    if str(messages[-1].get("content")).startswith("a poem about"):
        _wait_for_the_others()
    if "poem" in last or "summary" in last:
        return Reply(text=f"About {last[-60:]!r}: roses are red.")
    if any(message.get("role") == "tool" for message in messages):
        return Reply(text="It is sunny in Paris, and noon.")
    calls = (ToolCall(name="get_weather", arguments={"place": "Paris"}), ToolCall(name="get_time"))
    return Reply(tool_calls=calls)


class Weather(BaseModel):
    """The form of a structured answer."""

    place: str
    degrees: int


@pandaprobe_otel.agent
def openai_chat(url: str) -> Any:
    """OpenAI's chat: a stream that calls two tools, then one that answers."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    while True:
        stream: Any = client.chat.completions.create(model="gpt-5", messages=messages, tools=FUNCTIONS, stream=True)
        text = ""
        calls: dict[int, tuple[str, str, str]] = {}
        for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or []:
                    name, arguments, key = calls.get(call.index, ("", "", ""))
                    calls[call.index] = (
                        name + (call.function.name or ""),
                        arguments + (call.function.arguments or ""),
                        key + (call.id or ""),
                    )
        if not calls:
            return text
        asked = [
            {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments, key in calls.values()
        ]
        messages.append({"role": "assistant", "content": text or None, "tool_calls": asked})
        messages += [
            {"role": "tool", "tool_call_id": key, "content": use(name, arguments)}
            for name, arguments, key in calls.values()
        ]


@pandaprobe_otel.agent
def openai_responses(url: str) -> Any:
    """OpenAI's Responses: structured output, asynchronously."""

    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            parsed = await client.responses.parse(
                model="gpt-5", input="The weather in Paris as JSON", text_format=Weather
            )
            return parsed.output_parsed

    return asyncio.run(ask())


@pandaprobe_otel.agent
def anthropic_messages(url: str) -> Any:
    """Anthropic's messages: streamed asynchronously, with two tools."""
    tools: Any = [
        {"name": one["name"], "description": one["description"], "input_schema": one["parameters"]} for one in SCHEMAS
    ]

    async def ask() -> str:
        messages: list[Any] = [{"role": "user", "content": QUESTION}]
        async with anthropic.AsyncAnthropic(base_url=url, api_key="none") as client:
            while True:
                async with client.messages.stream(
                    model="claude-5", max_tokens=500, messages=messages, tools=tools
                ) as stream:
                    answer = await stream.get_final_message()
                calls = [block for block in answer.content if block.type == "tool_use"]
                if not calls:
                    return "".join(block.text for block in answer.content if block.type == "text")
                messages.append({"role": "assistant", "content": [block.model_dump() for block in answer.content]})
                results = [
                    {"type": "tool_result", "tool_use_id": call.id, "content": use(call.name, call.input)}
                    for call in calls
                ]
                messages.append({"role": "user", "content": results})

    return asyncio.run(ask())


@pandaprobe_otel.agent
def gemini_functions(url: str) -> Any:
    """Gemini's own loop, which calls Python functions."""
    client = google.genai.Client(api_key="none", http_options={"base_url": url})
    answer = client.models.generate_content(
        model="gemini-3", contents=QUESTION, config={"tools": [get_weather, get_time]}
    )
    client.close()
    return answer.text


@pandaprobe_otel.agent
def mistral_parallel(url: str) -> Any:
    """Mistral: three parallel questions and a summary of the answers, asynchronously."""

    async def ask() -> str:
        async with mistralai.client.Mistral(server_url=url, api_key="none") as client:

            async def poem(about: str) -> str:
                message: Any = {"role": "user", "content": f"a poem about {about}"}
                answer: Any = await client.chat.complete_async(model="mistral-large", messages=[message])
                return str(answer.choices[0].message.content)

            poems = await asyncio.gather(*(poem(about) for about in ("cats", "dogs", "birds")))
            message: Any = {"role": "user", "content": f"summary of {sorted(poems)}"}
            answer: Any = await client.chat.complete_async(model="mistral-large", messages=[message])
            return f"{poems} {answer.choices[0].message.content}"

    return asyncio.run(ask())


@pandaprobe_otel.agent
def litellm_stream(url: str) -> Any:
    """litellm, streamed asynchronously."""

    async def ask() -> str:
        stream: Any = await litellm.acompletion(
            model="openai/gpt-5",
            api_base=f"{url}/v1",
            api_key="none",
            stream=True,
            messages=[{"role": "user", "content": "a poem"}],
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    return asyncio.run(ask())


@pandaprobe_otel.agent
def openai_threads(url: str) -> Any:
    """OpenAI's chat from several threads, with retries of requests that are refused at first."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=3)

    def poem(about: str) -> str:
        message: Any = {"role": "user", "content": f"a poem about {about}"}
        answer = client.chat.completions.create(model="gpt-5", messages=[message])
        return str(answer.choices[0].message.content)

    with ThreadPoolExecutor(3) as pool:
        return list(context_executor(pool).map(poem, ("cats", "dogs", "birds")))


@pandaprobe_otel.agent
def bedrock_converse(url: str) -> Any:
    """Bedrock's Converse through boto3: two tools, then a stream."""
    made: Any = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    client = made.client("bedrock-runtime", endpoint_url=url, config=Config(retries={"max_attempts": 0}))
    messages: list[Any] = [{"role": "user", "content": [{"text": QUESTION}]}]
    answer = client.converse(modelId="amazon.nova-micro-v1:0", messages=messages)["output"]["message"]
    uses = [block["toolUse"] for block in answer["content"] if "toolUse" in block]
    results = [
        {"toolResult": {"toolUseId": one["toolUseId"], "content": [{"text": use(one["name"], one["input"])}]}}
        for one in uses
    ]
    messages += [answer, {"role": "user", "content": results}]
    streamed = client.converse_stream(modelId="amazon.nova-micro-v1:0", messages=messages)
    text = "".join(
        event["contentBlockDelta"]["delta"].get("text", "")
        for event in streamed["stream"]
        if "contentBlockDelta" in event
    )
    client.close()
    return text


@pandaprobe_otel.agent
def cohere_chat(url: str) -> Any:
    """Cohere: two tools, then a stream."""
    client = cohere.ClientV2(api_key="none", base_url=url)
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    answer = client.chat(model="command-a", messages=messages)
    calls = answer.message.tool_calls or []
    asked = [call.model_dump(mode="json") for call in calls]
    messages.append({"role": "assistant", "tool_calls": asked})
    for call in calls:
        assert call.function is not None
        content = use(call.function.name or "", call.function.arguments or "{}")
        messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
    return [repr(event) for event in client.chat_stream(model="command-a", messages=messages)]


@pandaprobe_otel.agent
def ollama_chat(url: str) -> Any:
    """Ollama, asynchronously: two tools, then a stream."""

    async def ask() -> str:
        client = ollama.AsyncClient(host=url)
        messages: list[Any] = [{"role": "user", "content": QUESTION}]
        answer: Any = await client.chat(model="llama", messages=messages)
        messages.append(answer.message)
        messages += [
            {"role": "tool", "content": use(call.function.name, call.function.arguments)}
            for call in answer.message.tool_calls or []
        ]
        text = ""
        stream: Any = await client.chat(model="llama", messages=messages, stream=True)
        async for part in stream:
            text += part.message.content or ""
        await client._client.aclose()
        return text

    return asyncio.run(ask())


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program, the integrations that trace it, and its scripted provider (None: the scripted endpoint)."""

    run: Callable[[str], Any]
    integrations: tuple[str, ...]
    answers: Callable[[], Callable[[Received], HttpReply]] | None = None


def _wire(adapter: Any) -> Callable[[], Callable[[Received], HttpReply]]:
    """Return a script that calls tools first and then answers, as a stream if the request asks for one."""

    def make() -> Callable[[Received], HttpReply]:
        def answer(received: Received) -> HttpReply:
            is_streamed = received.path.endswith("converse-stream") or bool(received.json.get("stream"))
            has_results = "sunny in" in json.dumps(received.json)
            wire = adapter.answer if has_results else adapter.tools
            if is_streamed:
                return HttpReply(chunks=wire.chunks, content_type=wire.stream_type)
            return HttpReply(chunks=(wire.whole,))

        return answer

    return make


def _refusing_first() -> Callable[[Received], HttpReply]:
    """Return a script that refuses each question with 429 the first time, and answers it the second time."""
    seen: set[bytes] = set()
    lock = threading.Lock()

    def answer(received: Received) -> HttpReply:
        with lock:
            is_new = received.body not in seen
            seen.add(received.body)
        if is_new:
            reply = json_reply({"error": {"message": "slow down"}}, status=429)
            return HttpReply(chunks=reply.chunks, status=429, headers={"Retry-After-Ms": "5"})
        text = received.json["messages"][-1]["content"]
        message = {"role": "assistant", "content": f"{text}: roses are red."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        return json_reply(
            {
                "id": "c1",
                "object": "chat.completion",
                "created": 1,
                "model": "gpt-5",
                "choices": [choice],
                "usage": usage,
            }
        )

    return answer


PROGRAMS: Final = {
    program.run.__name__: program
    for program in (
        Program(run=openai_chat, integrations=("openai",)),
        Program(run=openai_responses, integrations=("openai",)),
        Program(run=anthropic_messages, integrations=("anthropic",)),
        Program(run=gemini_functions, integrations=("google_genai",)),
        Program(run=mistral_parallel, integrations=("mistralai",)),
        Program(run=litellm_stream, integrations=("litellm", "openai")),
        Program(run=openai_threads, integrations=("openai",), answers=_refusing_first),
        Program(run=bedrock_converse, integrations=("bedrock",), answers=_wire(bedrock_wire.ADAPTERS[0])),
        Program(run=cohere_chat, integrations=("cohere",), answers=_wire(cohere_wire.ADAPTERS[0])),
        Program(run=ollama_chat, integrations=("ollama",), answers=_wire(ollama_wire.ADAPTERS[0])),
    )
}
