"""Additions to the spans that AutoGen makes."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Final

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, definer, patch
from pandaprobe_otel_integrations._rivals import Rival

from .agents import AgentRuns
from .endings import Endings
from .native import NativeSpans
from .teams import TeamRuns
from .tools import ToolCalls

__all__ = ["AutoGenInstrumentor"]

_AGENTS: Final = "autogen_agentchat.agents._base_chat_agent"
_ASSISTANTS: Final = "autogen_agentchat.agents._assistant_agent"
_MEMBERS: Final = "autogen_agentchat.teams._group_chat._chat_agent_container"
_TEAMS: Final = "autogen_agentchat.teams._group_chat._base_group_chat"
_OPENINFERENCE: Final = "openinference.instrumentation.autogen_agentchat"
"""Module of another vendor's instrumentor, and the scope of its spans."""
_TOOLS: Final = "autogen_core.tools._base"


class AutoGenInstrumentor(Integration):
    """Runs of agents and tools (in AutoGen's own spans), and runs of teams (in ours).

    This adds inputs and answers of agents and tools, intermediate messages, finish reasons, cancellation, and the
    conversation (one for each agent or team). The creation of an agent outside of a trace gets no span. Spans that the
    app makes between two events of a stream are not below the agent. The client makes the span of a model call.

    See `Integration` for the options of `instrument()`.
    """

    library = "autogen"
    makes_own_spans = True
    requirements = ("autogen-agentchat >= 0.7.5",)
    hooked_modules = (_AGENTS, _ASSISTANTS, _MEMBERS, _TEAMS, _TOOLS)
    rivals = (
        Rival(
            vendor="OpenInference",
            module=_OPENINFERENCE,
            class_name="AutogenAgentChatInstrumentor",
        ),
    )

    _endings = Endings()

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        native = NativeSpans(
            provider=self._tracer_provider,
            with_content=self._recorder.with_content,
            is_open=lambda: self._open,
            is_ours=lambda: self._lets_through(None),
        )
        if module.__name__ == _AGENTS:
            yield adopt(_OPENINFERENCE, is_on=lambda: self._open and not native.is_ours())
            yield patch(module, "trace_create_agent_span", native.making)
            runs = AgentRuns(native, self._endings)
            yield patch(module, "trace_invoke_agent_span", runs.span)
            yield patch(module.BaseChatAgent, "run", runs.run)
            yield patch(module.BaseChatAgent, "run_stream", runs.run_stream)
        elif module.__name__ == _MEMBERS:
            runs = AgentRuns(native, self._endings)
            yield patch(module, "trace_invoke_agent_span", runs.span)
            yield patch(module.ChatAgentContainer, "handle_request", runs.member)
            yield patch(definer(module.ChatAgentContainer, "publish_message"), "publish_message", runs.publishing)
        elif module.__name__ == _ASSISTANTS:
            yield patch(module.AssistantAgent, "_call_llm", self._endings.calling)
        elif module.__name__ == _TEAMS:
            yield patch(module.BaseGroupChat, "run_stream", TeamRuns(self._recorder, native.is_ours).run_stream)
        else:
            calls = ToolCalls(native)
            yield patch(module, "trace_tool_span", calls.span)
            yield patch(module.BaseTool, "run_json", calls.run)
            yield patch(module.BaseStreamTool, "run_json_stream", calls.run_stream)
