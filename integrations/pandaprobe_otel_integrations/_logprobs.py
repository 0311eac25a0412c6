"""Log probabilities of the tokens of an answer. There are many, so they are kept beside the messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pandaprobe_otel_integrations._json import Object, items, obj


def with_logprobs(found: dict[str, Any], choices: Iterable[Object], name: str) -> dict[str, Any]:
    """Return the other data of an answer with the log probabilities of the choices that have any."""
    tokens = [without_bytes(choice[name]) for choice in choices if choice.get(name)]
    return {**found, "logprobs": tokens[0] if len(tokens) == 1 else tokens} if tokens else found


def without_bytes(value: Any) -> Any:
    """Return log probabilities without the bytes of each token, which repeat its text."""
    if isinstance(value, (list, tuple)):
        return [without_bytes(one) for one in items(value)]  # pyright: ignore[reportUnknownArgumentType]
    members = obj(value)
    return {key: without_bytes(one) for key, one in members.items() if key != "bytes"} if members else value


class Logprobs:
    """The log probabilities of one choice of a stream; each chunk has some of them."""

    __slots__ = ("_others", "_tokens")

    def __init__(self) -> None:
        self._tokens: dict[str, list[Any]] = {}
        self._others: dict[str, Any] = {}

    def add(self, piece: Any) -> None:
        """Add the next tokens' log probabilities, without comparing them with earlier ones: two tokens may be equal."""
        for name, value in obj(piece).items():
            if isinstance(value, (list, tuple)):
                self._tokens.setdefault(name, []).extend(items(value))  # pyright: ignore[reportUnknownArgumentType]
            elif value is not None:
                self._others[name] = value

    def whole(self) -> dict[str, Any]:
        """Return all log probabilities."""
        return {**self._others, **self._tokens}
