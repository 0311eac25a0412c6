"""The `cohere` client: methods of the first API at the client, and those of the second API at `v2`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import cohere
import httpx

from surface.census import Library, Method, Roll
from surface.walk import arguments_for, methods_of

_KNOWN: Final[Any] = {"texts": ["x"], "documents": ["x"], "inputs": ["x"]}
_GIVEN: Final[dict[str, Any]] = {
    "chat": {"message": "x"},
    "chat_stream": {"message": "x"},
    "embed": {"texts": ["x"], "model": "x", "input_type": "search_query"},
}


@contextmanager
def _open() -> Iterator[Roll]:
    roll = Roll(methods=())

    def answer(request: Any) -> Any:
        roll.requests.append(f"{request.method} {request.url.path}")
        return httpx.Response(400, json={"message": "no"})

    transport = httpx.Client(transport=httpx.MockTransport(answer))
    client = cohere.Client(api_key="none", base_url="http://cohere.test", httpx_client=transport)
    found = methods_of(client, lambda one: type(one).__module__.startswith("cohere.") and not callable(one))
    roll.methods = (Method(name, partial(_called, name, ask)) for name, ask in found)
    yield roll


def _called(name: str, ask: Callable[..., Any]) -> Any:
    result = ask(**{**arguments_for(ask, _KNOWN), **_GIVEN.get(name, {})})
    return next(result, None) if hasattr(result, "__next__") else result


LIBRARY: Final = Library(
    integration="cohere",
    distribution="cohere",
    open=_open,
    left_out={
        "Jobs, and what is stored for models to use.": (
            "batches.*",
            "connectors.*",
            "datasets.*",
            "embed_jobs.*",
            "finetuning.*",
            "utils.save_dataset",
            "wait",
        ),
        "Texts become tokens, or texts again; it costs nothing.": ("detokenize", "tokenize"),
        "Nothing is asked: the client says that they are gone.": (
            "batch_*",
            "cancel_embed_job",
            "check_api_key",
            "codebook",
            "create_*",
            "delete_*",
            "detect_language",
            "generate_feedback",
            "generate_preference_feedback",
            "get_*",
            "list_*",
            "loglikelihood",
            "oauth_authorize_connector",
            "update_connector",
            "wait_for_*",
        ),
    },
)
