"""Compacted conversations and decisions."""

from __future__ import annotations

import json
from typing import Any

import openai

from library_members import skip_without
from openai_traffic import MODEL, QUESTION, RESPONSE_USAGE
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, json_reply
from span_recorder import SpanRecorder


def _client(server: ProviderServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def _parts(attributes: dict[str, Any], name: str = "gen_ai.output.messages") -> Any:
    return [part for message in json.loads(attributes[name]) for part in message["parts"]]


def test_compacted_conversation(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The answer of a compacted conversation is the model's short form, and not the user's words."""
    user = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
    made = {"type": "compaction", "id": "cmp_1", "encrypted_content": "secret"}
    compacted = {"id": "resp_1", "object": "response.compaction", "created_at": 1, "output": [user, made]}
    server.replies(json_reply({**compacted, "usage": RESPONSE_USAGE}))
    with _client(server) as client:
        skip_without(client, "responses.compact")
        without = client.responses.compact(model=MODEL, input=QUESTION)
        instrument("openai", tracer_provider=recorder.provider)
        assert client.responses.compact(model=MODEL, input=QUESTION) == without
    attributes = recorder.attributes(f"chat {MODEL}")
    assert _parts(attributes, "gen_ai.input.messages") == [{"type": "text", "content": QUESTION}]
    assert QUESTION not in attributes["gen_ai.output.messages"]
    assert attributes["gen_ai.usage.output_tokens"] == RESPONSE_USAGE["output_tokens"]
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)


def test_decisions(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Decisions about an input are recorded as questions, with the answers as one text."""
    answers = [{"type": "predicate", "name": "sunny", "score": 0.9}]
    server.replies(json_reply({"model": "gpt-6-luna", "answers": answers, "usage": RESPONSE_USAGE}))
    question: Any = {"type": "predicate", "name": "sunny", "instructions": "Is it sunny?"}
    with _client(server) as client:
        skip_without(client, "decisions")
        without = client.decisions.create(model="gpt-6-luna", input=QUESTION, questions=[question])
        instrument("openai", tracer_provider=recorder.provider)
        assert client.decisions.create(model="gpt-6-luna", input=QUESTION, questions=[question]) == without
    attributes = recorder.attributes("generate_content gpt-6-luna")
    assert _parts(attributes, "gen_ai.input.messages") == [{"type": "text", "content": QUESTION}]
    (text,) = _parts(attributes)
    assert json.loads(text["content"]) == answers
    (instruction,) = json.loads(attributes["gen_ai.system_instructions"])
    assert json.loads(instruction["content"]) == question
    assert attributes["gen_ai.usage.output_tokens"] == RESPONSE_USAGE["output_tokens"]
