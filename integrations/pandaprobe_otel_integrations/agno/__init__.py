"""OpenTelemetry spans for Agno: around the runs of its agents, teams and workflows, and around tool calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.executors import ContextExecutor
from pandaprobe_otel.capture.wrapping import Scope, wrap
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Undoable, replace
from pandaprobe_otel_integrations._rivals import Rival

from .runs import begin_run
from .tools import begin_tool
from .workflows import begin_workflow

__all__ = ["AgnoInstrumentor"]

_TOOLS: Final = "agno.tools.function"
_WORKFLOWS: Final = "agno.workflow.workflow"
_OWNERS: Final = {"agno.agent.agent": "Agent", "agno.team.team": "Team"}
_RUNS: Final = (
    "_run",
    "_run_stream",
    "_arun",
    "_arun_stream",
    "_continue_run",
    "_continue_run_stream",
    "_acontinue_run",
    "_acontinue_run_stream",
)
"""Every method that runs an agent or a team: sync or async, streamed or in the background."""
_WORKFLOW_RUNS: Final = (
    "_execute",
    "_execute_stream",
    "_aexecute",
    "_aexecute_stream",
    "_continue_execute",
    "_continue_execute_stream",
    "_acontinue_execute",
    "_acontinue_execute_stream",
)
"""Every method that runs a workflow: sync or async, streamed or in the background."""

Begin = Callable[[Recorder, Any, dict[str, Any]], Scope]


class AgnoInstrumentor(Integration):
    """Runs of agents, teams with their members and workflows, model calls and tools, sync, async and streamed.

    The client (openai, anthropic, google_genai, ...) makes the span of a model call; a client without an integration
    makes none. A run that Agno calls failed is an error, even if Agno raises nothing; a run that waits for a person is
    not. Agno's session and user are those of the trace, unless the app sets others. Before Agno 3.1.4, members that a
    team in task mode runs in threads are separate traces, because Agno loses the context.

    See `Integration` for the options of `instrument()`.
    """

    library = "agno"
    requirements = ("agno >= 2.6.9",)
    hooked_modules = ("agno.agent._run", "agno.team._run", _TOOLS, _WORKFLOWS, *_OWNERS)
    rivals = (
        Rival(vendor="OpenInference", module="openinference.instrumentation.agno", class_name="AgnoInstrumentor"),
        Rival(
            vendor="OpenTelemetry GenAI",
            module="opentelemetry.instrumentation.genai.agno",
            class_name="AgnoInstrumentor",
        ),
    )

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _TOOLS:
            for name in ("execute", "aexecute"):
                yield self._surround(module.FunctionCall, name, begin_tool)
        elif module.__name__ == _WORKFLOWS:
            for name in _WORKFLOW_RUNS:
                yield self._surround(module.Workflow, name, begin_workflow)
        elif module.__name__ in _OWNERS:
            yield _carry_context(getattr(module, _OWNERS[module.__name__]))
        else:
            for name in _RUNS:
                yield self._surround(module, name, begin_run)

    def _surround(self, owner: Any, name: str, begin: Begin) -> Undoable:
        def opened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
            subject = args[0]  # Agno passes the agent, workflow or tool call first, and all other arguments by name.
            return guarded(begin, self._recorder, subject, kwargs) if self._lets_through(subject) else None

        return replace(owner, name, wrap(getattr(owner, name), opened))


def _carry_context(owner: Any) -> Undoable:
    """Carry the run's context into the threads in which Agno writes memories and learns while the run waits."""
    name = "background_executor"
    made: property = owner.__dict__[name]
    return replace(owner, name, property(lambda agent: ContextExecutor(made.__get__(agent))))
