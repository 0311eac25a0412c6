"""The `mistralai` client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Final

from pydantic import BaseModel

from surface.census import Library, Method, Roll
from surface.walk import arguments_for, methods_of

_MESSAGES: Final[Any] = [{"role": "user", "content": "x"}]
_KNOWN: Final[Any] = {
    "messages": _MESSAGES,
    "inputs": "x",
    "input": "x",
    "input_": "x",
    "entries": [],
    "document": {"type": "document_url", "document_url": "http://x.test/a.pdf"},
    "file": {"file_name": "a.txt", "content": b"x"},
    "completion_args": {},
    "from_entry_id": "x",
}


class _Format(BaseModel):
    """The result type of `parse`."""

    text: str = ""


_WAYS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "chat.parse": lambda ask: ask(_Format, model="x", messages=_MESSAGES),
    "chat.parse_stream": lambda ask: ask(_Format, model="x", messages=_MESSAGES),
    "classifiers.classify_chat": lambda ask: ask(model="x", input={"messages": _MESSAGES}),
    "classifiers.moderate_chat": lambda ask: ask(model="x", inputs=_MESSAGES),
}


@contextmanager
def _open() -> Iterator[Roll]:
    base = _first("mistralai.client.basesdk", "mistralai.basesdk")
    http: Any = getattr(base, "httpx2", None) or base.httpx
    roll = Roll(methods=())

    def answer(request: Any) -> Any:
        roll.requests.append(f"{request.method} {request.url.path}")
        return http.Response(400, json={"detail": "no"})

    made = _first("mistralai.client", "mistralai").Mistral
    client = made(api_key="none", client=http.Client(transport=http.MockTransport(answer)), server_url="http://m.test")
    found = methods_of(client, lambda one: isinstance(one, base.BaseSDK))
    roll.methods = (Method(name, partial(_called, name, ask)) for name, ask in found if _asks(name))
    yield roll


def _called(name: str, ask: Callable[..., Any]) -> Any:
    return _WAYS[name](ask) if name in _WAYS else ask(**arguments_for(ask, _KNOWN))


def _first(*names: str) -> Any:
    for name in names[:-1]:
        try:
            return import_module(name)
        except ImportError:
            continue
    return import_module(names[-1])


def _asks(name: str) -> bool:
    """Return whether a method sends requests itself, and is neither an asynchronous twin nor a generated helper."""
    last = name.rpartition(".")[2]
    return "." in name and not last.endswith("_async") and last not in ("do_request", "sdk_configuration")


LIBRARY: Final = Library(
    integration="mistralai",
    distribution="mistralai",
    open=_open,
    left_out={
        "Conversations by sound: sessions over connections of their own, without turns that end.": (
            "audio.agents.*",
            "audio.sessions.*",
            "realtime.*",
        ),
        "Voices are made and changed.": ("audio.voices.*",),
        "A batch is a file of requests and a file of answers; what it cost, Mistral does not say.": ("batch.*",),
        "Agents and prompts are described; no model answers.": ("beta.agents.*", "beta.prompts.*"),
        "Tools, connections and searches, which Mistral runs.": (
            "beta.connectors.*",
            "beta.context.*",
            "beta.rag.*",
        ),
        "Documents, files, models and skills are stored.": (
            "beta.libraries.*",
            "beta.skills.*",
            "files.*",
            "models.*",
        ),
        "Tests, traces and judges that run at Mistral.": ("beta.observability.*",),
        "Accounts, users and messages of Mistral to the app.": (
            "beta.service_accounts.*",
            "beta.triggers.*",
            "beta.users.*",
            "beta.webhooks.*",
        ),
        "Tokens are counted, and cost none.": ("responses.count_input_tokens",),
        "Workflows that run at Mistral.": ("workflows.*",),
    },
)
