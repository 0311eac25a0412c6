"""Observation of any transport between the SDK and the CLI, without changing the messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import from_json
from pandaprobe_otel_integrations._shape import obj

from .conversation import Conversation


class ObservedMessages:
    """The messages that a transport reads. The conversation gets each before the SDK."""

    def __init__(self, messages: AsyncIterator[Any], conversation: Conversation) -> None:
        self._messages = messages
        self._conversation = conversation

    def __aiter__(self) -> ObservedMessages:
        return self

    async def __anext__(self) -> Any:
        try:
            message = await self._messages.__anext__()
        except BaseException as error:  # the end, a failure, or a loop that cancels its tasks: no more messages come
            guarded(self._conversation.close, None if isinstance(error, StopAsyncIteration) else error)
            raise
        guarded(self._conversation.read, obj(message))
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._messages, name)  # methods such as `aclose`


def tap(transport: Any, conversation: Conversation) -> None:
    """Observe this transport from now on, in both directions."""
    read: Callable[[], AsyncIterator[Any]] = transport.read_messages
    write: Callable[[str], Awaitable[None]] = transport.write

    def read_messages() -> ObservedMessages:
        return ObservedMessages(read().__aiter__(), conversation)

    def observed_write(data: str) -> Awaitable[None]:
        guarded(_wrote, conversation, data)
        return write(data)

    transport.read_messages = read_messages
    transport.write = observed_write


def _wrote(conversation: Conversation, data: str) -> None:
    is_answer = conversation.is_replaying and '"control_response"' in data
    if not is_answer and '"user"' not in data:  # the rest are control messages, some of them long
        return
    message = obj(from_json(data))
    if message.get("type") == "control_response":
        conversation.responded(message)
    else:
        conversation.wrote(message)
