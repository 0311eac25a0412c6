"""litellm beyond what is in conformance/: early imports, routers, fallbacks, embeddings, its own spans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from conformance.libraries.litellm import Target
from litellm_library import litellm
from openai_traffic import ANSWERED_BY, MODEL, completion, embedding, error
from pandaprobe_otel.registry import instrument, instrumented, uninstrument, wrap_litellm
from provider_server import ProviderServer, Received, Reply, json_reply
from span_recorder import SpanRecorder

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
imported_early = litellm.completion


@pytest.fixture(autouse=True)
def instrumented_too(recorder: SpanRecorder) -> Iterator[None]:
    """litellm and the client that it uses are recorded."""
    for name in ("openai", "litellm"):
        instrument(name, tracer_provider=recorder.provider)
    yield
    for name in ("openai", "litellm"):
        uninstrument(name)


def _request(server: ProviderServer) -> dict[str, Any]:
    return Target(server.url, 20.0).request


def _router(server: ProviderServer, *names: str) -> Any:
    models = [{"model_name": name, "litellm_params": {"model": f"openai/{name}", **_place(server)}} for name in names]
    return litellm.Router(model_list=models, fallbacks=[{names[0]: list(names[1:])}], num_retries=0)


def _place(server: ProviderServer) -> dict[str, Any]:
    return {"api_base": f"{server.url}/v1", "api_key": "none", "max_retries": 0}


def _only(model: str) -> Any:
    """A provider that has this model and refuses all others."""

    def answer(received: Received) -> Reply:
        asked = received.json["model"]
        return json_reply(completion()) if asked == model else json_reply(error(), status=500)

    return answer


def test_function_that_was_imported_before(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Whoever took the function out of the module first is recorded as well."""
    server.replies(json_reply(completion()))
    imported_early(**_request(server))
    assert recorder.one().name == f"chat {MODEL}"
    recorder.clear()
    uninstrument("litellm")
    uninstrument("openai")
    imported_early(**_request(server))
    assert recorder.spans == []


async def test_router_with_a_fallback(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Each attempt is a call: the first one failed, the second one answered."""
    server.script = _only("second")
    router = _router(server, "first", "second")
    messages = [{"role": "user", "content": "Now?"}]
    await router.acompletion(model="first", messages=messages)
    assert [(span.name, span.status.status_code) for span in recorder.spans] == [
        ("chat first", StatusCode.ERROR),
        ("chat second", StatusCode.UNSET),
    ]
    recorder.clear()
    router.completion(model="second", messages=messages)
    assert recorder.one().name == "chat second"


def test_fallbacks_of_one_call(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The same without a router."""
    server.script = _only("second")
    litellm.completion(**{**_request(server), "model": "openai/first"}, fallbacks=["openai/second"])
    assert recorder.names[-1] == "chat second"
    assert {span.status.status_code for span in recorder.spans[:-1]} == {StatusCode.ERROR}


async def test_embeddings(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Both ways to embed: tokens and dimensions, and no vectors."""
    server.replies(json_reply(embedding()))
    litellm.embedding(model="openai/e", input=["x"], **_place(server))
    await litellm.aembedding(model="openai/e", input=["x"], **_place(server))
    assert recorder.names == ["embeddings e", "embeddings e"]
    for span in recorder.spans:
        attributes = dict(span.attributes or {})
        assert attributes["gen_ai.usage.input_tokens"] == 8
        assert attributes["gen_ai.embeddings.dimension.count"] == 3


def test_text_completion(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The old API, which calls the function for chats inside, is one call."""
    server.replies(json_reply(completion()))
    litellm.text_completion(model=f"openai/{MODEL}", prompt="Now?", **_place(server))
    assert recorder.one().name == f"text_completion {MODEL}"


def test_secrets_are_not_recorded(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Keys, headers and metadata of the call stay out of the span."""
    server.replies(json_reply(completion()))
    request = {**_request(server), "api_key": "sk-very-secret", "metadata": {"user_api_key": "sk-other-secret"}}
    litellm.completion(**request, extra_headers={"authorization": "Bearer secret"}, max_completion_tokens=9)
    attributes = recorder.attributes()
    assert "secret" not in json.dumps(attributes)
    assert attributes["gen_ai.request.max_tokens"] == 9
    assert attributes["gen_ai.response.model"] == ANSWERED_BY


def test_own_spans_are_adopted(server: ProviderServer, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """While litellm makes spans itself, ours are silent, and the state says so."""
    monkeypatch.setattr(litellm, "success_callback", ["otel"])
    states = {result.name: result.state for result in instrumented()}
    assert states["litellm"] == "adopted"


def test_wrapped_module(server: ProviderServer, recorder: SpanRecorder) -> None:
    """`wrap_litellm` returns the module, whose calls are recorded."""
    server.replies(json_reply(completion()))
    assert wrap_litellm(litellm) is litellm
    litellm.completion(**_request(server))
    assert len(recorder.spans) == 1
