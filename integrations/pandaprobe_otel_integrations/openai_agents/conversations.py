"""The conversation of a run: that of its `Session`, unless the app has set one for the trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any, Final

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._shape import string

_CURRENT: Final[ContextVar[str | None]] = ContextVar("pandaprobe_openai_agents_conversation", default=None)


def current_conversation() -> str | None:
    """Return the conversation of the run that is about to start."""
    return _CURRENT.get()


def running(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap `Runner.run`, `run_sync` and `run_streamed`, in wrapt's form."""
    conversation = guarded(_conversation, kwargs)
    if conversation is None:
        return wrapped(*args, **kwargs)
    token = _CURRENT.set(conversation)
    try:
        result = wrapped(*args, **kwargs)
    finally:
        _CURRENT.reset(token)
    return _awaited(result, conversation) if isawaitable(result) else result


async def _awaited(run: Any, conversation: str) -> Any:
    token = _CURRENT.set(conversation)
    try:
        return await run
    finally:
        _CURRENT.reset(token)


def _conversation(options: Mapping[str, Any]) -> str | None:
    """Return the id of the service's own conversation, or of a session of any class; None if it has no id yet."""
    return string(options.get("conversation_id")) or string(getattr(options.get("session"), "session_id", None))
