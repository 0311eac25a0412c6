"""litellm with an OpenAI-compatible service; the underlying openai client is recorded too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Final

import pytest

from conformance import openai_wire
from conformance.adapter import Adapter
from openai_traffic import MODEL
from streamed_forms import Opened, Sighting, in_a_loop, settled


class _Litellm:
    """The module litellm, which cannot be imported together with the oldest openai; the test is skipped then."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks at every object of a module
            raise AttributeError(name)
        return getattr(pytest.importorskip("litellm", exc_type=ImportError), name)


litellm: Final[Any] = _Litellm()
"""litellm, imported when a test first uses it, since the import takes seconds and every worker loads every file."""


@dataclass(frozen=True)
class Target:
    """Arguments that every call of litellm's functions needs, since litellm has no clients."""

    url: str
    timeout_s: float

    @property
    def place(self) -> dict[str, Any]:
        """Return the arguments that lead a call to the server."""
        return {"api_base": f"{self.url}/v1", "api_key": "none", "timeout": self.timeout_s, "max_retries": 0}

    @property
    def request(self) -> dict[str, Any]:
        """Return the arguments of a chat."""
        return {**openai_wire.REQUEST, "model": f"openai/{MODEL}", **self.place}

    def __getattr__(self, name: str) -> Any:
        function = getattr(litellm, name)
        return lambda **given: function(**{**self.place, **given})


def _taken(*, asynchronous: bool) -> list[Any]:
    """Remove the clients that litellm keeps for later calls, and return them."""
    kept = litellm.in_memory_llm_clients_cache.cache_dict
    found = {
        key: one
        for key, one in kept.items()
        if hasattr(one, "close") and iscoroutinefunction(one.close) == asynchronous
    }
    for key in found:
        del kept[key]
    return list(found.values())


@contextmanager
def client(url: str, timeout_s: float) -> Iterator[Target]:
    """Yield a target on the loopback server; at the end, close the clients that litellm keeps for it."""
    yield Target(url, timeout_s)
    for kept in _taken(asynchronous=False):
        kept.close()


@asynccontextmanager
async def async_client(url: str, timeout_s: float) -> AsyncIterator[Target]:
    """Yield a target on the loopback server; at the end, close the asynchronous clients that litellm keeps for it."""
    yield Target(url, timeout_s)
    for kept in _taken(asynchronous=True):
        await kept.close()


def _completion(target: Target, **more: Any) -> Any:
    return (litellm.acompletion if in_a_loop() else litellm.completion)(**target.request, **more)


async def _plain(target: Target, seen: Sighting) -> None:
    seen.read(await settled(_completion(target)))


async def _stream(target: Target, seen: Sighting) -> Opened:
    stream: Any = seen.saw(await settled(_completion(target, stream=True)))
    leave = "aclose" if in_a_loop() else "close"
    return Opened(stream, getattr(stream, leave, lambda: None))  # in 1.100, only asynchronous streams can be closed


ADAPTERS: Final = (
    Adapter(
        title="litellm",
        integration="litellm",
        client=client,
        async_client=async_client,
        calls={"plain": _plain},
        forms={"stream": _stream},
        answer=openai_wire.ANSWERED,
        tools=openai_wire.TOOLS,
        refusal=openai_wire.REFUSAL,
        expected=openai_wire.expected("openai"),
        also=("openai",),
        varies=r"created=\d+|time taken=[\d.]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        warns=["ignore::UserWarning", "ignore::DeprecationWarning"],
    ),
)
