"""The client libraries on a transport in this process, and the forms of their calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import traffic
from bedrock_clients import bedrock
from forms import Form, async_forms, sync_forms
from traffic import MESSAGES, QUESTION, Traffic

CHAT: Final[dict[str, Any]] = {"model": "gpt-5-mini", "messages": MESSAGES, "temperature": 0.5}
STREAMED: Final[dict[str, Any]] = {**CHAT, "stream": True}
MESSAGE: Final[dict[str, Any]] = {**CHAT, "messages": MESSAGES[1:], "max_tokens": 500}
del MESSAGE["temperature"]


class Answers:
    """A provider as a function, for clients of httpx and of httpx2 (`http` is the module)."""

    def __init__(self, http: Any, traffic: Traffic) -> None:
        self._http = http
        self._traffic = traffic
        self._streams = self._stream_class(http.SyncByteStream)()
        self._async_streams = self._async_stream_class(http.AsyncByteStream)()

    def sync(self) -> Any:
        """Return a transport of `Client`."""
        return self._http.MockTransport(lambda request: self._answer(request, self._streams))

    def asynchronous(self) -> Any:
        """Return a transport of `AsyncClient`."""
        return self._http.MockTransport(lambda request: self._answer(request, self._async_streams))

    def _answer(self, request: Any, stream: Any) -> Any:
        streams = "stream" in request.url.path or b'"stream":true' in request.content.replace(b" ", b"")
        if streams:
            headers = {"content-type": self._traffic.stream_type}
            return self._http.Response(200, headers=headers, stream=stream, request=request)
        headers = {"content-type": "application/json"}
        return self._http.Response(200, headers=headers, content=self._traffic.answer, request=request)

    def _stream_class(self, base: Any) -> Any:
        pieces = self._traffic.pieces

        class Pieces(base):
            def __iter__(self) -> Iterator[bytes]:
                yield from pieces

        return Pieces

    def _async_stream_class(self, base: Any) -> Any:
        pieces = self._traffic.pieces

        class Pieces(base):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                for piece in pieces:
                    yield piece

        return Pieces


def _http_module(*names: str) -> Any:
    return import_module(next(name for name in names if find_spec(name)))


def _stainless(module: str, class_name: str, traffic: Traffic) -> tuple[Any, Any]:
    """Return the two clients of openai, anthropic, groq or together."""
    base = import_module(f"{module}._base_client")
    http: Any = getattr(base, "httpx2", None) or base.httpx
    answers, kinds = Answers(http, traffic), import_module(module)
    sync = getattr(kinds, class_name)
    asynchronous = getattr(kinds, f"Async{class_name}")
    return (
        sync(api_key="none", http_client=http.Client(transport=answers.sync())),
        asynchronous(api_key="none", http_client=http.AsyncClient(transport=answers.asynchronous())),
    )


def _like_openai(module: str, class_name: str) -> tuple[Form, ...]:
    sync, asynchronous = (client.chat.completions for client in _stainless(module, class_name, traffic.openai()))
    return (
        *sync_forms(lambda: sync.create(**CHAT), lambda: sync.create(**STREAMED)),
        *async_forms(lambda: asynchronous.create(**CHAT), lambda: asynchronous.create(**STREAMED)),
    )


def _anthropic() -> tuple[Form, ...]:
    sync, asynchronous = (client.messages for client in _stainless("anthropic", "Anthropic", traffic.anthropic()))
    streamed = {**MESSAGE, "stream": True}
    return (
        *sync_forms(lambda: sync.create(**MESSAGE), lambda: sync.create(**streamed)),
        *async_forms(lambda: asynchronous.create(**MESSAGE), lambda: asynchronous.create(**streamed)),
    )


def _google() -> tuple[Form, ...]:
    from google import genai

    http = _http_module("httpx2", "httpx")
    answers = Answers(http, traffic.google())
    options: Any = {
        "client_args": {"transport": answers.sync()},
        "async_client_args": {"transport": answers.asynchronous()},
    }
    client = genai.Client(api_key="none", vertexai=False, http_options=options)
    asked: Any = {"model": "gemini-3.8-flash", "contents": QUESTION}
    # Each function refers to `client`. Without a reference, the client would close its connections.
    return (
        *sync_forms(
            lambda: client.models.generate_content(**asked), lambda: client.models.generate_content_stream(**asked)
        ),
        *async_forms(
            lambda: client.aio.models.generate_content(**asked),
            lambda: client.aio.models.generate_content_stream(**asked),
        ),
    )


def _mistralai() -> tuple[Form, ...]:
    http = _http_module("httpx2", "httpx")
    answers = Answers(http, traffic.openai())
    client = import_module("mistralai.client").Mistral(
        api_key="none",
        client=http.Client(transport=answers.sync()),
        async_client=http.AsyncClient(transport=answers.asynchronous()),
    )
    chat = client.chat
    return (
        *sync_forms(lambda: chat.complete(**CHAT), lambda: chat.stream(**CHAT)),
        *async_forms(lambda: chat.complete_async(**CHAT), lambda: chat.stream_async(**CHAT)),
    )


def _cohere() -> tuple[Form, ...]:
    http, cohere = import_module("httpx"), import_module("cohere")
    answers = Answers(http, traffic.cohere())
    sync = cohere.ClientV2(api_key="none", httpx_client=http.Client(transport=answers.sync()))
    client = http.AsyncClient(transport=answers.asynchronous())
    asynchronous = cohere.AsyncClientV2(api_key="none", httpx_client=client)

    async def opened() -> Any:
        return asynchronous.chat_stream(**CHAT)

    return (
        *sync_forms(lambda: sync.chat(**CHAT), lambda: sync.chat_stream(**CHAT)),
        *async_forms(lambda: asynchronous.chat(**CHAT), opened),
    )


def _ollama() -> tuple[Form, ...]:
    http, ollama = import_module("httpx"), import_module("ollama")
    answers = Answers(http, traffic.ollama())
    sync = ollama.Client(transport=answers.sync())
    asynchronous = ollama.AsyncClient(transport=answers.asynchronous())
    asked = {"model": "llama3.2", "messages": MESSAGES}
    return (
        *sync_forms(lambda: sync.chat(**asked), lambda: sync.chat(**asked, stream=True)),
        *async_forms(lambda: asynchronous.chat(**asked), lambda: asynchronous.chat(**asked, stream=True)),
    )


def _litellm() -> tuple[Form, ...]:
    litellm: Any = import_module("litellm")
    sync, asynchronous = _stainless("openai", "OpenAI", traffic.openai())
    asked = {"messages": MESSAGES, "model": "openai/gpt-5-mini", "api_key": "none"}
    litellm.suppress_debug_info = True
    # After a call, litellm logs in threads of its own, which would slow down the measured calls.
    litellm.utils.executor.submit = lambda *args, **kwargs: None
    return (
        *sync_forms(
            lambda: litellm.completion(**asked, client=sync),
            lambda: litellm.completion(**asked, client=sync, stream=True),
        ),
        *async_forms(
            lambda: litellm.acompletion(**asked, client=asynchronous),
            lambda: litellm.acompletion(**asked, client=asynchronous, stream=True),
        ),
    )


CLIENTS: Final[dict[str, Callable[[], tuple[Form, ...]]]] = {
    "openai": lambda: _like_openai("openai", "OpenAI"),
    "anthropic": _anthropic,
    "google_genai": _google,
    "mistralai": _mistralai,
    "bedrock": bedrock,
    "litellm": _litellm,
    "cohere": _cohere,
    "groq": lambda: _like_openai("groq", "Groq"),
    "together": lambda: _like_openai("together", "Together"),
    "ollama": _ollama,
}
"""Forms by the library's name in the registry."""
