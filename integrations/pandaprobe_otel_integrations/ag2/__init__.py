"""OpenTelemetry spans for AG2: around the turns of its agents and, through a middleware, around their tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.wrapping import Scope, wrap
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, patch

from .agent_turns import begin_question, begin_tool, begin_turn

__all__ = ["AG2Instrumentor"]

_AGENTS: Final = "ag2.agent"
_SCOPE: Final = "opentelemetry.instrumentation.ag2"
_OWN: Final = "TelemetryMiddleware"
"""AG2's own middleware for spans, which an app may use."""

Open = Callable[..., AbstractAsyncContextManager[Callable[[], Any]]]


class AG2Instrumentor(Integration):
    """Turns of agents with their sub-agents, model calls and tools.

    The client (openai, anthropic, ...) makes the span of a model call; a client without an integration makes none.
    The id of an agent's stream, which all turns of a conversation share, is the session unless the app sets one. If
    an agent has AG2's own TelemetryMiddleware, its spans are used. See `Integration` for the options of
    `instrument()`.
    """

    library = "ag2"
    requirements = ("ag2 >= 1.1.2",)
    hooked_modules = (_AGENTS,)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        tools = self._tool_middleware(module.BaseMiddleware)

        def opening(wrapped: Open, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            given = tuple(kwargs.get("additional_middleware", ()))
            if not self._lets_through(agent) or _makes_spans(agent, given):
                return wrapped(*args, **kwargs)
            kwargs = {**kwargs, "additional_middleware": (*given, tools)}
            return self._turn(wrapped(*args, **kwargs), agent, args[0], kwargs.get("context"))

        yield adopt(_SCOPE, is_on=lambda: self._open)
        yield patch(module.Agent, "_drive_scope", opening)

    @asynccontextmanager
    async def _turn(
        self, opened: AbstractAsyncContextManager[Callable[[], Any]], agent: Any, event: Any, context: Any
    ) -> AsyncGenerator[Callable[[], Any]]:
        async with opened as drive:

            async def driven() -> Any:
                return await drive()

            yield wrap(driven, lambda _args, _kwargs: guarded(begin_turn, self._recorder, agent, event, context))

    def _tool_middleware(self, base: type[Any]) -> type[Any]:
        async def execute(_self: Any, call_next: Callable[..., Any], event: Any, context: Any) -> Any:
            return await call_next(event, context)

        def opened(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Scope | None:
            return guarded(begin_tool, self._recorder, args[2]) if self._open else None

        async def ask(_self: Any, call_next: Callable[..., Any], event: Any, context: Any) -> Any:
            return await call_next(event, context)

        def asked(args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Scope | None:
            return guarded(begin_question, self._recorder, args[2]) if self._open else None

        hooks = {"on_tool_execution": wrap(execute, opened), "on_human_input": wrap(ask, asked)}
        return type("ToolSpans", (base,), hooks)


def _makes_spans(agent: Any, given: tuple[Any, ...]) -> bool:
    return any(type(each).__name__ == _OWN for each in (*agent._middleware, *given))
