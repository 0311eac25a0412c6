"""OpenTelemetry spans for the Claude Agent SDK, from the messages between the SDK and the `claude` CLI."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.context import Context, attach

from pandaprobe_otel_integrations._adapter import Adapter
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import obj
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch

from .conversation import Conversation, instructions_of, tap

__all__ = ["ClaudeAgentSDKAdapter", "ClaudeAgentSDKInstrumentor"]


class ClaudeAgentSDKInstrumentor(Integration):
    """Runs of Claude agents with their model calls, tools and sub-agents, of `query()` and of `ClaudeSDKClient`.

    A run, from a prompt to its result, is an AGENT span: a root, or below the app's own span. Claude's session id is
    the conversation. Code of the app that the CLI calls (tools, hooks, permissions) runs inside the span of its tool
    call. With `include_partial_messages`, the tokens of each model call are exact. Without it, the CLI reports only
    those of the whole run, and they are divided by text length.

    See `Integration` for the options of `instrument()`.
    """

    library = "claude_agent_sdk"
    hooked_modules = ("claude_agent_sdk._internal.query",)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        conversations: WeakKeyDictionary[Any, Conversation] = WeakKeyDictionary()

        def made(original: OriginalCall) -> None:
            original()
            if self._lets_through(original.owner):
                guarded(listen, original.owner)

        def listen(query: Any) -> None:
            conversation = Conversation(self._recorder, lambda: self.values, guarded(instructions_of, query))
            tap(query.transport, conversation)
            conversations[query] = conversation

        def asked(original: OriginalCall) -> Any:
            conversation = conversations.get(original.owner)
            context: Context | None = None
            if conversation is not None and original.args:
                context = guarded(conversation.context_of, obj(original.args[0]))
            return original() if context is None else _inside(context, original)

        def closing(original: OriginalCall) -> Any:
            return _closing(original, conversations.pop(original.owner, None))

        yield patch(module.Query, "__init__", made)
        yield patch(module.Query, "_handle_control_request", asked)
        yield patch(module.Query, "close", closing)


async def _inside(context: Context, handle: OriginalCall) -> None:
    """The SDK answers each request in a separate task, which gets this context."""
    attach(context)
    await handle()


async def _closing(close: OriginalCall, conversation: Conversation | None) -> None:
    try:
        await close()
    finally:
        if conversation is not None:
            guarded(conversation.close)


class ClaudeAgentSDKAdapter(Adapter):
    """The official SDK's adapter. A run, from a prompt to its result, is a trace. See `Adapter`."""

    instrumentor = ClaudeAgentSDKInstrumentor
