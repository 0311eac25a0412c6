"""Local judges of OpenAI, Anthropic and Google: requests equal those of their clients, and answers are parsed."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import pytest
from anthropic import Anthropic
from google import genai
from openai import OpenAI

from pandaprobe_otel import agent
from pandaprobe_otel.evals import LocalJudge, evaluate
from pandaprobe_otel.local.evaluation.judge import JudgeError, Question
from provider_server import ProviderServer, Received, Reply, json_reply
from recorded_traffic import SHARED, Exchange, exchanges, recordings
from span_recorder import recording

MODELS = {"openai": "openai/gpt-4o", "anthropic": "anthropic/claude-sonnet", "google_genai": "google_genai/gemini-2"}
SCHEMA = {"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]}
QUESTION = Question(metric="confidence", prompt="How good?", schema=SCHEMA, trace={})
GOOD = {"reason": "seen", "score": 0.75, "task": "t", "outcome": "o"}


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


@agent
def answer(question: str) -> str:
    """Return an answer, as an agent."""
    return f"about {question}"


@pytest.mark.parametrize("provider", MODELS)
def test_cases_are_judged_by_each_provider(endpoint: ProviderServer, provider: str) -> None:
    """A judge reads its model provider's answers, and refuses models of other providers."""
    endpoint.replies(json_reply(FORMS[provider](json.dumps(GOOD))))
    other = next(model for name, model in MODELS.items() if name != provider)
    with recording():
        report = evaluate(["q"], answer, ["task_completion"], judge=MODELS[provider], say=lambda line: None)
        wrong = evaluate(["q"], answer, "task_completion", judge=MODELS[provider], model=other, say=lambda line: None)
    assert report.cases[0].results[0].text == "task_completion 0.75 >= 0.50: seen"
    assert "is not configured" in wrong.cases[0].results[0].text


# -- recorded answers -------------------------------------------------------------------------------------------------

RECORDED = [
    pytest.param(provider, exchange, id=f"{provider} {path.name}")
    for provider, library, ending in (
        ("anthropic", "anthropic", "/v1/messages"),
        ("google_genai", "google-genai", ":generateContent"),
    )
    for path in recordings(library)
    for exchange in exchanges(path)
    if exchange.path.endswith(ending)
    if exchange.answer.lstrip().startswith("{") and '"functionCall"' not in exchange.answer
]
beside = pytest.mark.skipif(not SHARED.is_dir(), reason="the collection of recordings is not beside the checkout")


def saying(answer: Any, text: str) -> Any:
    """Return a recorded answer with another text."""
    blocks = answer["content"] if "content" in answer else answer["candidates"][0]["content"]["parts"]
    told = [block for block in blocks if "text" in block and not block.get("thought")]
    for block in told:
        block["text"] = text if block is told[0] else ""
    return answer


@beside
@pytest.mark.parametrize(("provider", "exchange"), RECORDED)
def test_recorded_answers_are_read(endpoint: ProviderServer, provider: str, exchange: Exchange) -> None:
    """Recorded answers of model providers are read: texts, and refusals with the reason."""
    answer = json.loads(exchange.answer)
    is_whole = answer.get("stop_reason") != "max_tokens"
    if exchange.status == 200:
        endpoint.replies(json_reply(saying(answer, '{"score": 1}')))
    else:
        endpoint.replies(json_reply(answer, status=exchange.status))
    with closing(LocalJudge(MODELS[provider]).open()) as judge:
        if exchange.status == 200 and is_whole:
            assert judge.ask(QUESTION, None) == {"score": 1}
            return
        said = "with max_tokens" if not is_whole else f"HTTP {exchange.status}: .*{answer['error']['message'][:20]}"
        with pytest.raises(JudgeError, match=said):
            judge.ask(QUESTION, None)


@beside
def test_recorded_vectors_are_read(endpoint: ProviderServer) -> None:
    """Recorded vectors of Gemini are read, one for each text."""
    (path,) = [path for path in recordings("google-genai") if path.name == "embedding_conformance.yaml"]
    vectors = json.loads(exchanges(path)[0].answer)["embeddings"]

    def says(request: Received) -> Reply:
        return json_reply({"embeddings": vectors * len(request.json["requests"])})

    endpoint.script = says
    with closing(LocalJudge(MODELS["google_genai"], embedding_model="gemini-embedding").open()) as judge:
        found = judge.embed(["a", "b"])
    assert found is not None
    assert [list(one) for one in found] == [vectors[0]["values"]] * 2
    assert endpoint.received[0].path == "/v1beta/models/gemini-embedding:batchEmbedContents"


@beside
def test_there_are_recorded_answers_of_both() -> None:
    """The collection has answers of both model providers, so the tests above are not empty."""
    seen = {(str(param.values[0]), getattr(param.values[1], "status", 0) == 200) for param in RECORDED}
    assert seen >= {("anthropic", True), ("anthropic", False), ("google_genai", True)}


# -- unusable answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "replies", "said"),
    [
        ("anthropic", {"content": [{"type": "text", "text": "{"}], "stop_reason": "max_tokens"}, "with max_tokens"),
        ("anthropic", {"content": [], "stop_reason": "refusal"}, "ended with refusal"),
        ("anthropic", {"type": "message"}, "has no content"),
        ("google_genai", {"promptFeedback": {"blockReason": "SAFETY"}}, "was blocked: SAFETY"),
        ("google_genai", {"candidates": [{"finishReason": "MAX_TOKENS"}]}, "ended with MAX_TOKENS"),
        ("google_genai", {"candidates": [{"content": {"parts": []}, "finishReason": "RECITATION"}]}, "with RECITATION"),
        ("google_genai", [], "has no content"),
        ("openai", {"choices": []}, "has no message"),
    ],
)
def test_an_unusable_answer_is_an_error_with_the_reason(
    endpoint: ProviderServer, provider: str, replies: Any, said: str
) -> None:
    """A cut, blocked or refused answer is an error with the reason."""
    endpoint.replies(json_reply(replies))
    with closing(LocalJudge(MODELS[provider]).open()) as judge, pytest.raises(JudgeError, match=said):
        judge.ask(QUESTION, None)


def test_older_models_are_asked_more_plainly(endpoint: ProviderServer) -> None:
    """Anthropic models without structured output are asked to call a tool, then to answer in plain text."""
    refused = json_reply({"type": "error", "error": {"message": "output_config: not supported"}}, status=400)
    called = {"content": [{"type": "tool_use", "id": "t", "name": "answer", "input": {"score": 1}}]}
    endpoint.replies(refused, json_reply(called), refused, json_reply(in_anthropic_form('{"score": 0}')))
    with closing(LocalJudge(MODELS["anthropic"]).open()) as judge:
        assert [judge.ask(QUESTION, None)["score"] for _ in range(2)] == [1, 0]
    asked = [received.json for received in endpoint.received]
    assert ["output_config" in body for body in asked] == [True, False, False, False]
    assert [body.get("tool_choice", {}).get("name") for body in asked] == [None, "answer", "answer", None]
    assert "JSON Schema" in asked[-1]["messages"][0]["content"]


def test_older_models_of_gemini_too(endpoint: ProviderServer) -> None:
    """Gemini models without structured output are asked without the schema, then without JSON mode."""
    refused = json_reply({"error": {"message": "Unknown name responseJsonSchema"}}, status=400)
    endpoint.replies(refused, refused, json_reply(in_gemini_form('{"score": 1}')))
    with closing(LocalJudge(MODELS["google_genai"]).open()) as judge:
        judge.ask(QUESTION, None)
    configs = [sorted(received.json["generationConfig"]) for received in endpoint.received]
    assert configs == [["responseJsonSchema", "responseMimeType"], ["responseMimeType"], []]


@pytest.mark.parametrize("name", ["anthropic/claude-sonnet", "openai/gpt-4o", "vertex_ai/x", "qwen3"])
def test_at_a_url_a_name_is_as_the_endpoint_knows_it(endpoint: ProviderServer, name: str) -> None:
    """With a URL, the model's name is sent unchanged, because routers use names with a provider."""
    endpoint.replies(json_reply(in_openai_form('{"score": 1}')))
    with closing(LocalJudge(name, url=endpoint.url).open()) as judge:
        assert judge.ask(QUESTION, None) == {"score": 1}
    assert (endpoint.received[0].path, endpoint.received[0].json["model"]) == ("/chat/completions", name)


def test_anthropic_has_no_vectors(endpoint: ProviderServer) -> None:
    """Embeddings of Anthropic are an error without a request."""
    with (
        closing(LocalJudge(MODELS["anthropic"], embedding_model="e").open()) as judge,
        pytest.raises(JudgeError, match="Anthropic has no embedding models"),
    ):
        judge.embed(["a"])
    assert endpoint.received == []
