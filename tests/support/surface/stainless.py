"""Clients that Stainless generates: resources with methods, and an HTTP client that can be passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from types import GeneratorType
from typing import Any, Final
from uuid import uuid4

from .census import Method, Roll
from .walk import arguments_for, methods_of

_KNOWN: Final[Mapping[str, Any]] = {"file": ("a.txt", b"x"), "image": ("a.png", b"x"), "video": ("a.mp4", b"x")}
_DONE: Final[Mapping[str, Any]] = {
    "status": "completed",
    "usage": {"input_tokens": 1, "prompt_tokens": 1, "output_tokens": 1},
    "results_url": "/v1/messages/batches/x/results",
}
"""An answer that fits most requests, with the status of completed work."""
Way = Callable[[Callable[..., Any]], Any]
"""A way to call a method that needs more than its arguments."""


def stainless(
    library: str, client: str, ways: Mapping[str, Way], known: Mapping[str, Any] | None = None, **options: Any
) -> Callable[[], AbstractContextManager[Roll]]:
    """Return the function that opens the roll of one client class; `ways` are by the ending of a method's name."""

    @contextmanager
    def opened() -> Iterator[Roll]:
        base = import_module(f"{library}._base_client")
        http: Any = getattr(base, "httpx2", None) or base.httpx
        roll = Roll(methods=())

        def answer(request: Any) -> Any:
            roll.requests.append(f"{request.method} {request.url.path}")
            status = 200 if request.method == "GET" else 400  # a refusal is faster, and the call counts all the same
            return http.Response(status, json={**_DONE, "id": str(uuid4())})

        transport = http.Client(transport=http.MockTransport(answer))
        with getattr(import_module(library), client)(http_client=transport, max_retries=0, **options) as made:
            roll.methods = _methods(made, f"{library}.resources", ways, {**_KNOWN, **(known or {})})
            yield roll

    return opened


def _methods(client: Any, resources: str, ways: Mapping[str, Way], known: Mapping[str, Any]) -> Iterator[Method]:
    def is_resource(found: Any) -> bool:
        return type(found).__module__.startswith(resources)

    for name, method in methods_of(client, is_resource):
        if "." in name and not _repeats(name):
            way = next((found for ending, found in ways.items() if name.endswith(ending)), None)
            yield Method(name, partial(_called, method, way, known))


def _repeats(name: str) -> bool:
    """Return whether a method repeatedly calls another one until some work is completed."""
    return "poll" in name or "wait_for" in name


def _called(method: Callable[..., Any], way: Way | None, known: Mapping[str, Any]) -> Any:
    result = way(method) if way is not None else method(**arguments_for(method, known))
    if isinstance(result, GeneratorType):
        next(result, None)
    elif hasattr(result, "__enter__") and not hasattr(result, "enter"):
        with result:
            return result
    else:
        return result
    return nullcontext()
