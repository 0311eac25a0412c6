"""Local judges of OpenAI, Anthropic and Google: requests equal those of their clients, and answers are parsed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import pytest
from anthropic import Anthropic
from google import genai
from openai import OpenAI

from pandaprobe_otel.evals import LocalJudge
from pandaprobe_otel.judge.judge import JudgeError, Question
from provider_server import ProviderServer, Received, Reply, json_reply

MODELS = {"openai": "openai/gpt-4o", "anthropic": "anthropic/claude-sonnet", "google_genai": "google_genai/gemini-2"}
SCHEMA = {"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]}
QUESTION = Question(metric="confidence", prompt="How good?", schema=SCHEMA, trace={})


def in_openai_form(text: str) -> Any:
    """Return an answer in OpenAI's format."""
    message = {"role": "assistant", "content": text}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"message": message}]}


def in_anthropic_form(text: str) -> Any:
    """Return an answer in Anthropic's format, with a thinking block before the text."""
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": text}]
    return {"id": "m", "type": "message", "role": "assistant", "content": blocks, "stop_reason": "end_turn"}


def in_gemini_form(text: str) -> Any:
    """Return an answer in Gemini's format, in two parts after a thought."""
    parts = [{"text": "hm", "thought": True}, {"text": text[:5]}, {"text": text[5:]}]
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}]}


FORMS: dict[str, Callable[[str], Any]] = {
    "openai": in_openai_form,
    "anthropic": in_anthropic_form,
    "google_genai": in_gemini_form,
}
VARIABLES = {
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "anthropic": ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
    "google_genai": ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY"),
}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Generator[ProviderServer]:
    """Yield an endpoint for all model providers, set in the variables of their clients."""
    monkeypatch.delenv("PANDAPROBE_JUDGE_KEY", raising=False)
    with ProviderServer() as server:
        for address, key in VARIABLES.values():
            monkeypatch.setenv(address, server.url)
            monkeypatch.setenv(key, "k")
        yield server


def by_openai(url: str) -> None:
    """Send the question with OpenAI's client."""
    structure: Any = {"name": "confidence", "schema": SCHEMA, "strict": True}
    with OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": "How good?"}],
            response_format={"type": "json_schema", "json_schema": structure},
        )


def by_anthropic(url: str) -> None:
    """Send the question with Anthropic's client."""
    structure: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    with Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        client.messages.create(
            model="claude-sonnet",
            max_tokens=4096,
            messages=[{"role": "user", "content": "How good?"}],
            output_config=structure,
        )


def by_google(url: str) -> None:
    """Send the question with Google's client."""
    with genai.Client(api_key="k", http_options={"base_url": url}) as client:
        client.models.generate_content(
            model="gemini-2",
            contents="How good?",
            config={"response_mime_type": "application/json", "response_json_schema": SCHEMA},
        )


CLIENTS = {"openai": by_openai, "anthropic": by_anthropic, "google_genai": by_google}
HEADERS = {
    "openai": {"authorization": "Bearer k"},
    "anthropic": {"x-api-key": "k", "anthropic-version": "2023-06-01"},
    "google_genai": {"x-goog-api-key": "k"},
}


@pytest.mark.parametrize("provider", MODELS)
def test_a_judge_asks_as_the_client_of_its_provider_does(endpoint: ProviderServer, provider: str) -> None:
    """A judge sends the same path (except for the API version), body and key as the model provider's client."""
    endpoint.replies(json_reply(FORMS[provider]('{"score": 1}')))
    with closing(LocalJudge(MODELS[provider]).open()) as judge:
        assert judge.ask(QUESTION, None) == {"score": 1}
    CLIENTS[provider](endpoint.url)
    ours, theirs = endpoint.received
    assert ours.path.replace("v1beta", "v1") == theirs.path.replace("v1beta", "v1")
    assert ours.json == theirs.json
    assert HEADERS[provider].items() <= ours.headers.items()


def test_a_model_of_another_provider_is_refused(endpoint: ProviderServer) -> None:
    """A judge sends nothing to its provider under the name of another provider's model."""
    with closing(LocalJudge(MODELS["openai"]).open()) as judge, pytest.raises(JudgeError, match="is not configured"):
        judge.ask(QUESTION, MODELS["anthropic"])
    assert endpoint.received == []


@pytest.mark.parametrize(
    ("provider", "replies", "words"),
    [
        ("anthropic", {"content": [{"type": "text", "text": "{"}], "stop_reason": "max_tokens"}, "with max_tokens"),
        ("anthropic", {"content": [], "stop_reason": "refusal"}, "ended with refusal"),
        ("anthropic", {"type": "message"}, "has no content"),
        ("google_genai", {"promptFeedback": {"blockReason": "SAFETY"}}, "was blocked: SAFETY"),
        ("google_genai", {"candidates": [{"content": {"parts": []}, "finishReason": "RECITATION"}]}, "with RECITATION"),
        ("google_genai", [], "has no content"),
        ("openai", {"choices": []}, "has no message"),
        ("anthropic", None, "HTTP 403: .*forbidden"),
        ("google_genai", None, "HTTP 403: .*forbidden"),
    ],
)
def test_an_unusable_answer_is_an_error_with_the_reason(
    endpoint: ProviderServer, provider: str, replies: Any, words: str
) -> None:
    """A cut, blocked or refused answer is an error with the reason."""
    failed = json_reply({"error": {"message": "forbidden"}}, status=403)
    endpoint.replies(failed if replies is None else json_reply(replies))
    with closing(LocalJudge(MODELS[provider]).open()) as judge, pytest.raises(JudgeError, match=words):
        judge.ask(QUESTION, None)


def test_older_models_are_sent_more_plainly(endpoint: ProviderServer) -> None:
    """Without structured output, Anthropic's models are sent to call a tool, Gemini's in JSON mode, then in text."""
    refused = json_reply({"type": "error", "error": {"message": "output_config: not supported"}}, status=400)
    called = {"content": [{"type": "tool_use", "id": "t", "name": "answer", "input": {"score": 1}}]}
    endpoint.replies(refused, json_reply(called), refused, json_reply(in_anthropic_form('{"score": 0}')))
    with closing(LocalJudge(MODELS["anthropic"]).open()) as judge:
        assert [judge.ask(QUESTION, None)["score"] for _ in range(2)] == [1, 0]
    sent = [received.json for received in endpoint.received]
    assert ["output_config" in body for body in sent] == [True, False, False, False]
    assert [body.get("tool_choice", {}).get("name") for body in sent] == [None, "answer", "answer", None]
    assert "JSON Schema" in sent[-1]["messages"][0]["content"]

    unknown = json_reply({"error": {"message": "Unknown name responseJsonSchema"}}, status=400)
    endpoint.replies(unknown, unknown, json_reply(in_gemini_form('{"score": 1}')))
    with closing(LocalJudge(MODELS["google_genai"]).open()) as judge:
        judge.ask(QUESTION, None)
    configs = [sorted(received.json["generationConfig"]) for received in endpoint.received[4:]]
    assert configs == [["responseJsonSchema", "responseMimeType"], ["responseMimeType"], []]


@pytest.mark.parametrize("name", ["anthropic/claude-sonnet", "openai/gpt-4o", "vertex_ai/x", "qwen3"])
def test_at_a_url_a_name_is_as_the_endpoint_knows_it(endpoint: ProviderServer, name: str) -> None:
    """With a URL, the model's name is sent unchanged, because routers use names with a provider."""
    endpoint.replies(json_reply(in_openai_form('{"score": 1}')))
    with closing(LocalJudge(name, url=endpoint.url).open()) as judge:
        assert judge.ask(QUESTION, None) == {"score": 1}
    assert (endpoint.received[0].path, endpoint.received[0].json["model"]) == ("/chat/completions", name)


def test_vectors(endpoint: ProviderServer) -> None:
    """Gemini returns a vector for each text; embeddings of Anthropic are an error without a request."""

    def vectors(request: Received) -> Reply:
        return json_reply({"embeddings": [{"values": [0.5, 0.25]} for _ in request.json["requests"]]})

    endpoint.script = vectors
    with closing(LocalJudge(MODELS["google_genai"], embedding_model="gemini-embedding").open()) as judge:
        found = judge.embed(["a", "b"])
    assert found is not None
    assert [list(one) for one in found] == [[0.5, 0.25]] * 2
    assert endpoint.received[0].path == "/v1beta/models/gemini-embedding:batchEmbedContents"
    with (
        closing(LocalJudge(MODELS["anthropic"], embedding_model="e").open()) as judge,
        pytest.raises(JudgeError, match="Anthropic has no embedding models"),
    ):
        judge.embed(["a"])
    assert len(endpoint.received) == 1
