"""The handlers with the official SDK's names, for apps that pass one to each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from pandaprobe_otel.capture.trace_context import trace_values
from pandaprobe_otel_integrations._adapter import use

from . import LangChainInstrumentor, RunCallbacks

if TYPE_CHECKING:
    from pandaprobe_otel import PandaProbe

_Base: Any = import_module("langchain_core.callbacks.base").BaseCallbackHandler


class LangChainCallbackHandler(RunCallbacks, _Base):  # pyright: ignore[reportUntypedBaseClass]
    """Records the runs that it is passed to, as `config={"callbacks": [LangChainCallbackHandler()]}`.

    You need no handler if `init()` or `instrument("langchain")` records every run; a run with both is recorded once.
    `session_id`, `user_id`, `tags` and `metadata` apply to traces that start with this handler. `client` may only be
    the handle that `init()` returned.
    """

    root_names: ClassVar[Mapping[str, str]] = {"LangGraph": "LangChain", "RunnableSequence": "LangChain"}

    def __init__(
        self,
        *,
        client: PandaProbe | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        use(client)
        values = trace_values(session=session_id, user=user_id, tags=tags, metadata=metadata)
        recorder = LangChainInstrumentor().recorder
        super().__init__(recorder, values=values)


class LangGraphCallbackHandler(LangChainCallbackHandler):
    """The handler of `LangChainCallbackHandler`, for graphs."""

    root_names: ClassVar[Mapping[str, str]] = {}


class DeepAgentsCallbackHandler(LangChainCallbackHandler):
    """The handler of `LangChainCallbackHandler`, for deep agents and their sub-agents."""

    root_names: ClassVar[Mapping[str, str]] = {"LangGraph": "DeepAgents"}
