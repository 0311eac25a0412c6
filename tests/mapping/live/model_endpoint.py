"""A scripted model behind the APIs of OpenAI (chat, responses, embeddings), Anthropic and Gemini.

A question with BUSY is refused with status 429. A request that offers tools and has no tool result is answered with a
call of the first tool, any other request with one sentence. Every answer has token counts, and all exchanges are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.demo import completions
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall
from pandaprobe_otel.demo.protocols import ANTHROPIC_MESSAGES, CHAT_COMPLETIONS, GEMINI, RESPONSES, Said, spoken_at
from provider_server import ProviderServer, Received, events_reply, json_reply
from provider_server import Reply as HttpReply

Json = Mapping[str, Any]

CITY, WEATHER = "Lisbon", "windy, 17 degrees"
ANSWER = "It is windy in Lisbon, 17 degrees."
PICTURE = "Which city is this?"
"""The question that comes with a picture."""
REFUSED = "The model is busy, try again"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer by the semantic conventions: cached tokens count as input, thoughts as output."""

    prompt: int
    completion: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    `roles` has the first letter of each request message's role (system, user, assistant, tool), and `question` is the
    user's last text. The answer is `text`, tool calls in `calls`, or `error`.
    """

    model: str
    roles: str
    question: str
    text: str | None = None
    calls: tuple[tuple[str, Json], ...] = ()
    usage: Usage | None = None
    error: str | None = None
    streamed: bool = False


def tools_of(body: Json) -> dict[str, Json]:
    """Return the tools that a request to any API offers: name -> JSON Schema of the arguments."""
    tools: dict[str, Json] = {}
    for tool in body.get("tools") or ():
        for declared in tool.get("functionDeclarations") or [tool.get("function") or tool]:
            if "name" in declared:
                schema = (
                    declared.get("parameters") or declared.get("input_schema") or declared.get("parameters_json_schema")
                )
                tools[declared["name"]] = schema or {}
    return tools


OPENAI, CLAUDE = "gpt-4o-mini-2026-02-03", "claude-sonnet-4-5-20260203"
MODELS: Final = {
    CHAT_COMPLETIONS.path: OPENAI, RESPONSES.path: OPENAI, ANTHROPIC_MESSAGES.path: CLAUDE,
    GEMINI.path: "gemini-2.5-flash",
}  # fmt: skip
USAGE: Final = Usage(prompt=211, completion=43, cache_read=128, reasoning=7)
CLAUDE_USAGE: Final = Usage(prompt=171, completion=43, cache_read=128, cache_write=20)
COUNTED: Final = {ANTHROPIC_MESSAGES.path: (23, 43), GEMINI.path: (211, 36)}
"""Input and output tokens where they exclude cached tokens or thoughts."""
DETAILS: Final[Mapping[str | None, Mapping[str, Any]]] = {
    CHAT_COMPLETIONS.path: {
        "prompt_tokens_details": {"cached_tokens": 128}, "completion_tokens_details": {"reasoning_tokens": 7},
    },
    RESPONSES.path: {
        "input_tokens_details": {"cached_tokens": 128}, "output_tokens_details": {"reasoning_tokens": 7},
    },
    ANTHROPIC_MESSAGES.path: {"cache_read_input_tokens": 128, "cache_creation_input_tokens": 20},
    GEMINI.path: {"thoughtsTokenCount": 7, "cachedContentTokenCount": 128, "totalTokenCount": 254},
}  # fmt: skip
"""Counts that the demo's model does not have."""


class ModelEndpoint:
    """The endpoint of the scripted model; `exchanges` has all answered requests, in order."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._server = ProviderServer()
        self._server.script = self._answer

    def __enter__(self) -> ModelEndpoint:
        self._server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._server.__exit__(*error)

    @property
    def url(self) -> str:
        """The root URL; OpenAI's client needs it with `/v1`."""
        return self._server.url

    def _answer(self, request: Received) -> HttpReply:
        path = request.path.partition("?")[0]
        if path.endswith("/embeddings"):
            return self._embeddings(request.json)
        spoken = spoken_at(path) if request.method == "POST" else None
        if spoken is None:
            return json_reply({}, status=404)
        protocol, in_path = spoken
        body = {**request.json, **in_path}
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        says_usage = protocol is not CHAT_COMPLETIONS or not body.get("stream") or wants_usage
        exchange = self._exchange(body, protocol.conversation(body) or (), MODELS[protocol.path], says_usage)
        if exchange.error:
            return json_reply(dict(protocol.refusal(429, exchange.error)), status=429)
        prompt, completion = COUNTED.get(protocol.path, (211, 43))
        said = Said(
            response_id=f"{protocol.id_prefix}{len(self.exchanges)}",
            model=exchange.model,
            reply=Reply(text=exchange.text, tool_calls=tuple(ToolCall(name=n, arguments=a) for n, a in exchange.calls)),
            usage=completions.Usage(prompt_tokens=prompt, completion_tokens=completion),
            wants_usage=wants_usage,
        )
        if not exchange.streamed:
            return json_reply(_with_details(protocol.document(said), protocol.path))
        events = [_with_details(event, protocol.path) for event in protocol.events(said)]
        return events_reply(events, named=protocol.named, done=protocol.last is not None)

    def _exchange(self, body: Json, messages: Sequence[Message], model: str, says_usage: bool) -> Exchange:
        roles = "".join({"developer": "s"}.get(message["role"], message["role"][0]) for message in messages)
        question = next((_text(one["content"]) for one in reversed(messages) if one["role"] == "user"), "")
        usage = (CLAUDE_USAGE if model == CLAUDE else USAGE) if says_usage else None
        streamed = bool(body.get("stream"))
        if "BUSY" in question:
            exchange = Exchange(str(body.get("model")), roles, question, error=REFUSED, streamed=streamed)
        elif tools_of(body) and "t" not in roles:
            name, schema = next(iter(tools_of(body).items()))
            arguments = dict.fromkeys(schema.get("properties") or (), CITY)
            exchange = Exchange(model, roles, question, calls=((name, arguments),), usage=usage, streamed=streamed)
        else:
            exchange = Exchange(model, roles, question, text=ANSWER, usage=usage, streamed=streamed)
        self.exchanges.append(exchange)
        return exchange

    def _embeddings(self, body: Json) -> HttpReply:
        given = body["input"]
        texts = given if isinstance(given, list) else [given]
        self.exchanges.append(Exchange("text-embedding-3-small", "", str(texts[0]), usage=Usage(9, 0)))
        rows = [{"object": "embedding", "index": i, "embedding": [0.1, 0.2]} for i in range(len(texts))]
        usage = {"prompt_tokens": 9, "total_tokens": 9}
        return json_reply({"object": "list", "data": rows, "model": "text-embedding-3-small", "usage": usage})


def _with_details(answer: Any, path: str | None) -> Any:
    """Return an answer or event with more detailed token counts."""
    if not isinstance(answer, Mapping):
        return answer
    return {
        name: {**item, **DETAILS[path]} if item and name in ("usage", "usageMetadata") else _with_details(item, path)
        for name, item in answer.items()
    }


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else [{"text": content}]
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
