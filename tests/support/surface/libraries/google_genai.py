"""The `google-genai` client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import wrapt
from google import genai
from google.genai import _api_client, live
from google.oauth2.credentials import Credentials

from surface.census import EACH, Library, Method, Roll
from surface.walk import arguments_for, methods_of

_KNOWN: Final[Any] = {"contents": "x", "input": "x", "questions": []}
_WAYS: Final[dict[str, Callable[[Any], Any]]] = {
    "chats.create": lambda ask: ask(model="x").send_message("x"),
    "decisions.create": lambda ask: ask(model="x", input="x", questions={}),
    "interactions.create": lambda ask: ask(model="x", input="x"),
}


@contextmanager
def _open() -> Iterator[Roll]:
    http: Any = getattr(_api_client, "httpx2", None) or getattr(_api_client, "httpx")  # noqa: B009 - one of the two
    roll = Roll(methods=())

    def answer(request: Any) -> Any:
        roll.requests.append(f"{request.method} {request.url.path}")
        return http.Response(400, json={"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}})

    transport = {"transport": http.MockTransport(answer)}
    options: Any = {"base_url": "http://g.test", "client_args": transport}
    client = genai.Client(api_key="none", vertexai=False, http_options=options)
    vertex: Any = {"vertexai": True, "project": "x", "location": "x", "credentials": Credentials(token="none")}  # type: ignore[no-untyped-call, unused-ignore]
    elsewhere = dict(_found(genai.Client(http_options=options, **vertex)))
    roll.methods = (
        Method(name, partial(_called, name, ask, elsewhere.get(name), roll))
        for name, ask in _found(client)
        if _asks(name)
    )
    yield roll


def _asks(name: str) -> bool:
    return "." in name and not name.startswith(("aio.", "vertexai.")) and not name.endswith(".do_request")


def _found(client: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    yield from methods_of(client, lambda one: type(one).__module__.startswith("google.genai.") and not callable(one))
    yield "live.connect", client.aio.live.connect


def _called(name: str, ask: Callable[..., Any], elsewhere: Callable[..., Any] | None, roll: Roll) -> Any:
    """Call a method, on Vertex AI if only Vertex AI has it."""
    try:
        return _used(name, ask)
    except Exception:
        if roll.requests or elsewhere is None:
            raise
        return _used(name, elsewhere)


def _used(name: str, ask: Callable[..., Any]) -> Any:
    result = _WAYS[name](ask) if name in _WAYS else ask(**arguments_for(ask, _KNOWN))
    return next(result, None) if hasattr(result, "__next__") else result


def _on_connection(name: str, _: Any) -> str | None:
    """Return EACH for the method that opens live sessions, if it is instrumented."""
    is_ours = isinstance(live.AsyncLive.__dict__["connect"], wrapt.FunctionWrapper)
    return EACH if is_ours and name == "live.connect" else None


LIBRARY: Final = Library(
    integration="google_genai",
    distribution="google-genai",
    open=_open,
    hooked=_on_connection,
    left_out={
        "Agents and machines that run at Google: their work is seen in the interactions with them.": (
            "agents.*",
            "environments.*",
            "triggers.*",
        ),
        "A batch is a job at Google; its answers come with it, or in a file.": ("batches.*",),
        "Files, caches, models and voices are stored.": (
            "caches.*",
            "file_search_stores.*",
            "files.*",
            "models.update",
            "voices.*",
        ),
        "Secrets and short-lived keys.": ("auth_tokens.*", "credentials.*", "interactions.auth_tokens.*"),
        "Tokens are counted, and cost none.": ("models.compute_tokens", "models.count_tokens"),
        "Work is stopped, or asked how far it is.": ("interactions.cancel", "operations.get"),
        "Training.": ("tunings.*",),
        "Messages of Google to the app.": ("webhooks.*",),
    },
)
