"""A cache of the pydantic classes that Speakeasy's clients make again for each value that they write or read.

The classes of a type are all alike, and making them takes nine tenths of a call's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Final
from unittest.mock import patch

_MAKERS: Final = ("google.genai._gaos.utils.serializers", "mistralai.client.utils.serializers")


@contextmanager
def models_made_once() -> Iterator[None]:
    """Cache the classes within the block, for the clients that are installed."""
    with ExitStack() as stack:
        for name in _MAKERS:
            try:
                module = import_module(name)
            except ImportError:
                continue
            stack.enter_context(patch.object(module, "create_model", _kept(module.create_model)))
        yield


def _kept(make: Callable[..., Any]) -> Callable[..., Any]:
    made: dict[tuple[str, Any], Any] = {}

    def create_model(name: str, **fields: Any) -> Any:
        try:
            key = name, fields["body"]
            if key not in made:
                made[key] = make(name, **fields)
            return made[key]
        except (KeyError, TypeError):  # another kind of class, or a type that is not hashable
            return make(name, **fields)

    return create_model
