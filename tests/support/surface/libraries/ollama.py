"""The `ollama` client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import httpx
from ollama import Client

from surface.census import Library, Method, Roll
from surface.walk import arguments_for, methods_of

_ASKED: Final[Any] = {"model": "x"}
_GIVEN: Final[dict[str, Any]] = dict.fromkeys(("chat", "embed", "embeddings", "generate"), _ASKED)


@contextmanager
def _open() -> Iterator[Roll]:
    roll = Roll(methods=())

    def answer(request: Any) -> Any:
        roll.requests.append(f"{request.method} {request.url.path}")
        return httpx.Response(400, json={"error": "no"})

    client = Client(host="http://ollama.test", transport=httpx.MockTransport(answer))
    found = [one for one in methods_of(client, lambda _: False) if one[0] != "close"]
    roll.methods = (Method(name, partial(_called, name, ask)) for name, ask in found)
    yield roll


def _called(name: str, ask: Callable[..., Any]) -> Any:
    return ask(**arguments_for(ask, {}), **_GIVEN.get(name, {}))


LIBRARY: Final = Library(
    integration="ollama",
    distribution="ollama",
    open=_open,
    left_out={
        "Models are made, copied, loaded and described.": (
            "copy",
            "create",
            "create_blob",
            "pull",
            "push",
            "show",
        ),
        "The web is searched and read, and no model asked.": ("web_fetch", "web_search"),
    },
)
