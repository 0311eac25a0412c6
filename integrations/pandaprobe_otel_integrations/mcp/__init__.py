"""OpenTelemetry spans for the Model Context Protocol: one trace of client and server, with the tools' results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import Undoable, patch
from pandaprobe_otel_integrations._rivals import Rival

from .client_calls import recorded_call, without_spans_of_its_own
from .other_requests import TOLD, Request, sent
from .server_requests import noting

__all__ = ["MCPInstrumentor"]


class MCPInstrumentor(Integration):
    """Tool calls of MCP clients and servers, prompts, resources and requests from servers, over every transport.

    The library makes its own spans, and sends the trace context in `_meta`. The server's spans are used, with arguments
    and results added. For a client's tool call, our span replaces the library's. If an agent framework already has a
    TOOL span for the call, ours has the kind OTHER. See `Integration` for the options of `instrument()`.
    """

    library = "mcp"
    requirements = ("mcp >= 2.0",)
    hooked_modules = ("mcp.client.session", "mcp.server._otel", "mcp.shared.jsonrpc_dispatcher")
    rivals = (Rival(vendor="OpenLLMetry", module="opentelemetry.instrumentation.mcp", class_name="McpInstrumentor"),)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == "mcp.client.session":
            yield patch(module.ClientSession, "call_tool", self._calling)
        elif module.__name__ == "mcp.server._otel":
            yield patch(module.OpenTelemetryMiddleware, "__call__", self._serving)
        else:
            yield from without_spans_of_its_own(module)
            yield patch(module.JSONRPCDispatcher, "send_raw_request", self._sending)

    def _calling(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if not self._lets_through(instance):
            return wrapped(*args, **kwargs)
        return recorded_call(self._recorder, wrapped, args, kwargs)

    def _sending(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        method, params = (*args, None, None)[:2]
        if method not in TOLD or not self._lets_through(None) or not self._recorder.with_content:
            return wrapped(*args, **kwargs)
        return sent(wrapped, args, kwargs, Request(method, params))

    def _serving(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if len(args) == 2 and self._open and self._recorder.with_content:
            args = (args[0], noting(args[1]))
        return wrapped(*args, **kwargs)
