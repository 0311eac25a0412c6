"""A scripted model behind the APIs of OpenAI (chat, responses, embeddings), Anthropic and Gemini.

A question with BUSY is refused with status 429. A request that offers tools and has no tool result is answered with a
call of the first tool, any other request with one sentence. Every answer has token counts, and all exchanges are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.protocols import known
from pandaprobe_otel.protocols.anthropic import ANTHROPIC
from pandaprobe_otel.protocols.chat import CHAT
from pandaprobe_otel.protocols.conversation import Choice, Message, ModelAnswer, RequestedTool, Tokens
from pandaprobe_otel.protocols.gemini import GEMINI
from pandaprobe_otel.protocols.responses import RESPONSES
from provider_server import ProviderServer, Received, json_reply
from provider_server import Reply as HttpReply

Json = Mapping[str, Any]

CITY, WEATHER = "Lisbon", "windy, 17 degrees"
ANSWER = "It is windy in Lisbon, 17 degrees."
PICTURE = "Which city is this?"
"""The question that comes with a picture."""
REFUSED = "The model is busy, try again"


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
    usage: Tokens | None = None
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
MODELS: Final = {CHAT.name: OPENAI, RESPONSES.name: OPENAI, ANTHROPIC.name: CLAUDE, GEMINI.name: "gemini-2.5-flash"}
USAGE: Final = Tokens(prompt=211, completion=43, cache_read=128, reasoning=7)
CLAUDE_USAGE: Final = Tokens(prompt=171, completion=43, cache_read=128, cache_write=20)
"""Counts by the semantic conventions: cached tokens count as input, thoughts as output."""


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
        body = request.json if request.method == "POST" else {}
        parsed = known.read_request(path, body)
        if parsed is None or parsed.wire is None or parsed.wire.name not in MODELS:
            return json_reply({}, status=404)
        protocol, streamed = parsed.wire, parsed.is_stream
        usage: Tokens | None = CLAUDE_USAGE if protocol is ANTHROPIC else USAGE
        if protocol is CHAT and streamed and not (body.get("stream_options") or {}).get("include_usage"):
            usage = None
        exchange = self._exchange(body, protocol.read_messages(body) or (), MODELS[protocol.name], usage, streamed)
        if exchange.error:
            return json_reply(protocol.refusal(429, exchange.error), status=429)
        calls = tuple(
            RequestedTool(id=f"{protocol.call_prefix}{len(self.exchanges)}", name=name, arguments=json.dumps(arguments))
            for name, arguments in exchange.calls
        )
        reason = "tool_calls" if calls else "stop"
        answer = ModelAnswer(
            response_id=f"{protocol.response_prefix}{len(self.exchanges)}",
            model=exchange.model,
            choices=(Choice(text=exchange.text, calls=calls, finish_reason=reason),),
            tokens=usage,
            created=1_760_000_000,
        )
        whole = protocol.write_answer(answer)
        if "instructions" in whole:  # OpenAI repeats them, and instrumentations read them there
            whole = {**whole, "instructions": body.get("instructions")}
        if not streamed:
            return json_reply(whole)
        return HttpReply(chunks=list(protocol.write_stream(whole)), content_type=protocol.streamed_as)

    def _exchange(
        self, body: Json, messages: Sequence[Message], model: str, usage: Tokens | None, streamed: bool
    ) -> Exchange:
        roles = "".join({"developer": "s"}.get(message["role"], message["role"][0]) for message in messages)
        question = next((_text(one["content"]) for one in reversed(messages) if one["role"] == "user"), "")
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
        self.exchanges.append(Exchange("text-embedding-3-small", "", str(texts[0]), usage=Tokens(prompt=9)))
        rows = [{"object": "embedding", "index": i, "embedding": [0.1, 0.2]} for i in range(len(texts))]
        usage = {"prompt_tokens": 9, "total_tokens": 9}
        return json_reply({"object": "list", "data": rows, "model": "text-embedding-3-small", "usage": usage})


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else [{"text": content}]
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
