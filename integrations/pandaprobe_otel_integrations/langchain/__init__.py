"""OpenTelemetry spans for LangChain, LangGraph and DeepAgents, from the callbacks of `langchain_core`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from importlib import import_module
from time import time_ns
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Span, get_current_span

from pandaprobe_otel.capture.trace_context import TraceValues, trace_values
from pandaprobe_otel.capture.tracers import state
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel.mapping.attributes import CANCELLED, OUTCOME
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded, observing
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, Object, encoded, items, obj, string, to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import is_empty
from pandaprobe_otel_integrations._patching import OriginalCall, Undo, Undoable, patch
from pandaprobe_otel_integrations._rivals import LangfuseModule, LangSmithTracing, Watch, known_rivals
from pandaprobe_otel_integrations._runs import OPEN_RUNS, RUN_KEY, OpenRuns, Run, RunRecorder
from pandaprobe_otel_integrations._spans import RETRIEVAL, agent, fail, present, record_raised, tool
from pandaprobe_otel_integrations.langchain.messages import (
    TOOLS,
    answer_attributes,
    answer_content,
    conversation,
    document,
    hook_tools,
    interrupts,
    more_parameters,
    plain,
    request_attributes,
    tool_definitions,
)

__all__ = [
    "DeepAgentsCallbackHandler",
    "LangChainCallbackHandler",
    "LangChainInstrumentor",
    "LangGraphCallbackHandler",
]


# -- the kind of a run of LangChain's type `chain`: an agent, a step, or a hidden run ----------------------------------

HIDDEN: Final = "langsmith:hidden"
"""Tag of LangGraph's internal runs."""
_STEP: Final = ("graph:step:", "seq:step:", "map:key:", "langsmith:")
"""Beginnings of LangChain's and LangGraph's own tags; other tags are the app's."""
_THEIRS: Final = ("ls_", "lc_", "langgraph_", "checkpoint_", "__", "LANGSMITH_", "LANGCHAIN_")
"""Beginnings of their internal entries of a run's metadata; other entries are the app's."""
_GRAPH: Final = "LangGraph"
"""Name of a graph that the app has not named."""
_EXECUTOR: Final = "AgentExecutor"


def is_node(tags: Sequence[str]) -> bool:
    """Return whether the run is a node of a graph; its parent is then the graph's run."""
    return any(tag.startswith("graph:step:") for tag in tags)


def is_agent(name: str, tags: Sequence[str], metadata: Mapping[str, Any], *, is_root: bool) -> bool:
    """Return whether the data at the start of the run marks it as that of a whole graph or an agent.

    From 1.1, LangGraph writes `ls_integration` into the metadata of everything in a graph. An agent's name
    (`lc_agent_name`) is the name of its graph's run.
    """
    if is_node(tags):
        return False
    if name in (_GRAPH, _EXECUTOR) or name == metadata.get("lc_agent_name"):
        return True
    return is_root and "ls_integration" in metadata


# -- making a run's span current in its body (a tool's function, a node, a lambda) -------------------------------------

SETTER = "_set_config_context"
"""Name of a function in `langchain_core.runnables.config` and in `langgraph._internal._runnable`.

Its first argument is a config.
"""


def entering_body(original: OriginalCall) -> Any:
    """Wrap SETTER."""
    result = original()
    guarded(_attach, original.arg(0, "config"))
    return result


def retrieving(original: OriginalCall) -> Any:
    """Wrap `BaseRetriever.invoke`, whose body runs in the caller's context, and restore that context afterwards."""
    before = get_current()
    try:
        return original()
    finally:
        guarded(_leave, before)


async def retrieving_async(original: OriginalCall) -> Any:
    """Wrap `BaseRetriever.ainvoke`."""
    before = get_current()
    try:
        return await original()
    finally:
        guarded(_leave, before)


def _leave(before: Context) -> None:
    """Leave the context of a retriever whose run is still open.

    LangChain does not report a cancellation or interrupt.
    """
    inside = get_current()
    if inside is before:
        return
    attach(before)
    run = inside.get(RUN_KEY)
    if not isinstance(run, Run) or run is before.get(RUN_KEY) or OPEN_RUNS.take(run.run_id) is None:
        return
    for each in (*OPEN_RUNS.take_below(run, lambda below: below.is_torn_down), run):
        guarded(each.leave_body)
        if each.span is not None:
            each.span.set_attribute(OUTCOME, CANCELLED)
            each.span.end()


def _attach(config: Any) -> None:
    callbacks = config.get("callbacks") if isinstance(config, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    run = OPEN_RUNS.get(getattr(callbacks, "parent_run_id", None))  # pyright: ignore[reportUnknownArgumentType]
    if run is not None and get_current().get(RUN_KEY) is not run:
        attach(run.context)


# -- the span of a run: started below its parent's, and ended together with the open spans below it --------------------


class RunCallbacks(RunRecorder):
    """The callbacks, to be mixed into LangChain's `BaseCallbackHandler`.

    `values` are session, user, tags and metadata of new traces.
    """

    root_names: ClassVar[Mapping[str, str]] = {}
    """Trace names by the class of the trace's first run, for runs that the app has not named."""
    run_inline = True  # in the caller's task and thread, whose context shows what a run is part of
    raise_error = False

    def __init__(
        self,
        recorder: Callable[[], Recorder | None],
        *,
        claims_only: Callable[[], bool] = lambda: False,
        values: TraceValues | None = None,
        runs: OpenRuns = OPEN_RUNS,
    ) -> None:
        super().__init__(recorder, claims_only=claims_only, values=lambda: values, runs=runs)

    @property
    def ignore_llm(self) -> bool:
        """Return whether to skip model calls."""
        return self._recorder() is None

    ignore_chat_model = ignore_llm

    @property
    def ignore_chain(self) -> bool:
        """Return whether to skip chains; LangChain asks before each callback."""
        return self._recorder() is None or self._claims_only()

    ignore_agent = ignore_chain
    ignore_retriever = ignore_chain

    # -- beginnings and ends ------------------------------------------------------------------------------------------

    def _begin(
        self,
        name: str,
        run_id: Any,
        said: Object,
        attributes: Mapping[str, Any],
        content: Callable[[], Content],
        *,
        is_model_call: bool = False,
    ) -> Run | None:
        """Start a run's span and keep the run; None if it is recorded already or nothing records.

        `said` are the other arguments of the callback.
        """
        recorder = self._recorder()
        if recorder is None or run_id in self.runs:
            return None
        parent, metadata = self._parent(said), obj(said.get("metadata"))
        base = self._base(parent)
        attributes = {ours.AGENT_NAME: parent.agent if parent is not None else None, **attributes}
        if parent is None:
            attributes[names.CONVERSATION_ID] = string(metadata.get("thread_id"))
            if not get_current_span(base).get_span_context().is_valid:
                attributes[ours.TRACE_NAME] = self.root_names.get(name)
            tags = [tag for tag in items(said.get("tags")) if not tag.startswith(_STEP)]
            given = plain({key: value for key, value in metadata.items() if not key.startswith(_THEIRS)})
            base = self._root(base, trace_values(session=None, user=None, tags=tags, metadata=given))
        if own := {key: metadata[key] for key in ("langgraph_node", "langgraph_step") if key in metadata}:
            attributes[ours.SPAN_METADATA] = to_json(own)
        span = recorder.start(name, attributes, content, context=base, is_model_call=is_model_call)
        agent = parent.agent if parent is not None else None
        return self._open(Run(run_id=run_id, name=name, parent=parent, context=base, span=span, agent=agent))

    def _parent(self, said: Object) -> Run | None:
        return self.runs.get(said.get("parent_run_id"))

    def _fails(self, error: BaseException, run_id: Any) -> None:
        run = self.runs.take(run_id)
        if run is None:
            return
        guarded(self._record, run.span, error)
        if run.parent is not None and outcome_of(error) == ours.INTERRUPTED:
            run.parent.stopped = ours.INTERRUPTED
        self._end(run, lambda child: child.is_torn_down)

    def _record(self, span: Span | None, error: BaseException) -> None:
        if span is None:
            return
        record_raised(span, error, with_content=self._with_content and span.is_recording())
        if outcome_of(error) == ours.INTERRUPTED and (asked := interrupts(error)):
            self._write(span, lambda: {ours.OUTPUT: plain({"__interrupt__": asked})})

    @staticmethod
    def _set(span: Span | None, attributes: Mapping[str, Any]) -> None:
        if span is not None:
            span.set_attributes(present(attributes))

    # -- chains, graphs, nodes ----------------------------------------------------------------------------------------

    @observing
    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: Any, **said: Any) -> None:
        """Start a chain, a graph or a node."""
        parent, tags = self._parent(said), items(said.get("tags"))
        if parent is not None and is_node(tags):
            self._is_graph(parent)
        if parent is not None and HIDDEN in tags:
            self._keep(Run(run_id=run_id, parent=parent, context=parent.context, agent=parent.agent))
            return
        name = _name(serialized, said)
        run = self._begin(name, run_id, said, {ours.KIND: "CHAIN"}, lambda: {ours.INPUT: plain(inputs)})
        if run is not None and is_agent(name, tags, obj(said.get("metadata")), is_root=parent is None):
            self._is_graph(run)

    def _is_graph(self, run: Run) -> None:
        """Mark the run as that of an agent. The run's own data, or its first node, has shown this."""
        if not run.is_agent:
            run.is_agent, run.agent = True, None if run.name in (_GRAPH, _EXECUTOR) else run.name
            self._set(run.span, agent(run.agent))

    def on_chain_end(self, outputs: Any, *, run_id: Any, **said: Any) -> None:
        """End a run successfully. A streamed chain reports its input only now."""
        run = self.runs.take(run_id)
        if run is not None:
            if "inputs" in said:
                self._write(run.span, lambda: {ours.INPUT: plain(said["inputs"])})
            self._write(run.span, lambda: {ours.OUTPUT: plain(outputs)})
            self._set(run.span, {ours.OUTCOME: run.stopped})  # a graph returns its state when a node waits
            self._end(run)

    def on_chain_error(self, error: BaseException, *, run_id: Any, **said: Any) -> None:
        """End a run with an exception."""
        self._fails(error, run_id)

    # -- models -------------------------------------------------------------------------------------------------------

    @observing
    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: Any, **said: Any) -> None:
        """Start a call of a chat model, with one list of messages per run."""
        self._model_begins(serialized, run_id, said, "chat", lambda: conversation(messages[0]))

    @observing
    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: Any, **said: Any) -> None:
        """Start the call of a model that completes text."""

        def asked() -> Any:
            return [{"role": "user", "parts": [{"type": "text", "content": prompt}]} for prompt in prompts]

        self._model_begins(serialized, run_id, said, "text_completion", asked)

    def _model_begins(
        self, serialized: Any, run_id: Any, said: Object, operation: str, messages: Callable[[], Any]
    ) -> None:
        if self._claims_only():
            run = Run(run_id=run_id, parent=self._parent(said), context=get_current())
            self._keep(run)
            run.claim_model_call()
            return
        parameters = obj(said.get("invocation_params"))
        attributes = {
            ours.OPERATION_NAME: operation,
            **request_attributes(obj(said.get("metadata")), parameters),
        }
        model = attributes[names.REQUEST_MODEL]
        name = f"{operation} {model}" if model else _name(serialized, said)
        asked = lambda: {  # noqa: E731
            names.INPUT_MESSAGES: messages(),
            names.TOOL_DEFINITIONS: tool_definitions(parameters),
            **more_parameters(parameters),
        }
        found = self._begin(name, run_id, said, attributes, asked, is_model_call=True)
        if found is not None:
            found.claim_model_call()

    @observing
    def on_llm_new_token(self, token: Any, *, run_id: Any, **said: Any) -> None:
        """Record a piece of the answer."""
        run = self.runs.get(run_id)
        if run is not None and not run.answers:
            run.answers = True
            # From here on, the app's code runs between the pieces, and its model calls are not part of this run.
            run.leave_body()
            elapsed_s = (time_ns() - run.started_ns) / 1e9
            self._set(run.span, {"gen_ai.response.time_to_first_chunk": elapsed_s, names.STREAM: True})

    on_stream_event = on_llm_new_token  # a piece in the newer form

    def on_llm_end(self, response: Any, *, run_id: Any, **said: Any) -> None:
        """End a model call successfully."""
        run = self.runs.take(run_id)
        if run is not None:
            guarded(self._add_answer, run.span, response)
            self._end(run)

    def on_llm_error(self, error: BaseException, *, run_id: Any, **said: Any) -> None:
        """End a model call with an exception; `response` is the partial answer."""
        run = self.runs.get(run_id)
        if run is not None and said.get("response") is not None:
            guarded(self._add_answer, run.span, said["response"])
        self._fails(error, run_id)

    def _add_answer(self, span: Span | None, response: Any) -> None:
        self._set(span, answer_attributes(response))
        self._write(span, lambda: answer_content(response))

    # -- the app's own -----------------------------------------------------------------------------------------------

    @observing
    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **said: Any) -> None:
        """Record an event that the app sends with `dispatch_custom_event`."""
        run = self.runs.get(run_id)
        if run is not None and run.span is not None and self._with_content and run.span.is_recording():
            run.span.add_event(str(name), encoded({"data": plain(data)}))

    # -- tools and retrievers -----------------------------------------------------------------------------------------

    @observing
    def on_tool_start(self, serialized: Any, input_str: Any, *, run_id: Any, **said: Any) -> None:
        """Start a tool."""
        name = _name(serialized, said)
        attributes = {
            **tool(name, string(said.get("tool_call_id"))),
            "gen_ai.tool.description": string(obj(serialized).get("description")),
        }
        given = said.get("inputs")
        arguments = lambda: {  # noqa: E731
            names.TOOL_CALL_ARGUMENTS: plain(input_str if given is None else _without_injected(given))
        }
        self._begin(f"execute_tool {name}", run_id, said, attributes, arguments)

    def on_tool_end(self, output: Any, *, run_id: Any, **said: Any) -> None:
        """End a tool with its result, which may be a message that reports a failure."""
        run = self.runs.take(run_id)
        if run is not None:
            guarded(self._add_result, run.span, output)
            self._end(run)

    def on_tool_error(self, error: BaseException, *, run_id: Any, **said: Any) -> None:
        """End a tool with an exception."""
        run = self.runs.get(run_id)
        if run is not None:
            self._set(run.span, {"gen_ai.tool.call.id": string(said.get("tool_call_id"))})
        self._fails(error, run_id)

    def _add_result(self, span: Span | None, output: Any) -> None:
        message = _tool_message(output)
        self._set(span, {"gen_ai.tool.call.id": string(getattr(message, "tool_call_id", None))})
        result = output if message is None else message.content
        self._write(span, lambda: {names.TOOL_CALL_RESULT: plain(result)})
        if not is_empty(artifact := getattr(message, "artifact", None)):
            self._write(span, lambda: {ours.SPAN_METADATA: plain({"artifact": artifact})})
        if span is not None and getattr(message, "status", None) == "error":
            fail(span, "tool_error", str(result) if self._with_content else "")

    @observing
    def on_retriever_start(self, serialized: Any, query: Any, *, run_id: Any, **said: Any) -> None:
        """Start a retriever."""
        asked = lambda: {names.RETRIEVAL_QUERY: str(query)}  # noqa: E731
        run = self._begin(_name(serialized, said), run_id, said, RETRIEVAL, asked)
        if run is not None:
            run.enter_body()  # LangChain sets no config for it, and gives it no separate context

    def on_retriever_end(self, documents: Any, *, run_id: Any, **said: Any) -> None:
        """End a retriever with its documents."""
        run = self.runs.take(run_id)
        if run is not None:
            self._write(run.span, lambda: {names.RETRIEVAL_DOCUMENTS: plain([document(one) for one in documents])})
            self._end(run)

    def on_retriever_error(self, error: BaseException, *, run_id: Any, **said: Any) -> None:
        """End a retriever with an exception."""
        self._fails(error, run_id)


def _name(serialized: Any, said: Object) -> str:
    described = obj(serialized)
    given = string(said.get("name")) or string(described.get("name"))
    if given is not None:
        return given
    path = described.get("id")
    return str(path[-1]) if isinstance(path, (list, tuple)) and path else "run"  # pyright: ignore[reportUnknownArgumentType]


def _without_injected(arguments: Any) -> Any:
    """Return the model's arguments. LangChain 1.0 also reports the runtime that it injects, including the state."""
    if not isinstance(arguments, Mapping):
        return arguments
    return {key: value for key, value in obj(arguments).items() if type(value).__name__ != "ToolRuntime"}


def _tool_message(output: Any) -> Any:
    """Return the message in a tool's output, which may be a command that adds the message to the state."""
    if hasattr(output, "tool_call_id"):
        return output
    update = obj(getattr(output, "update", None) if hasattr(output, "goto") else None)
    found = [message for message in items(update.get("messages")) if hasattr(message, "tool_call_id")]
    return found[-1] if found else None


if TYPE_CHECKING:
    from .handlers import DeepAgentsCallbackHandler as DeepAgentsCallbackHandler
    from .handlers import LangChainCallbackHandler as LangChainCallbackHandler
    from .handlers import LangGraphCallbackHandler as LangGraphCallbackHandler

_RETRIEVERS: Final = "langchain_core.retrievers"
_MANAGERS: Final = "langchain_core.callbacks.manager"
_LANGFUSE: Final = LangfuseModule(module="langfuse.langchain.CallbackHandler")
"""Its handler records only the runs that the app gives it to."""


class LangChainInstrumentor(Integration):
    """Chains, graphs, agents, model calls, tools and retrievers, sync, async and streamed.

    Every run built on `langchain_core` is a span: an AGENT span for a graph or agent, a CHAIN span for a node or other
    runnable. One model call is one LLM span; the model's client makes no second one. Runs that LangGraph hides are left
    out. `thread_id` is the conversation. Interrupts and commands of a graph are not errors. See `Integration` for the
    options of `instrument()`.
    """

    library = "langchain"
    hooked_modules = (
        "langchain_core.runnables.config",
        "langchain_core.tracers.context",
        "langgraph._internal._runnable",
        _RETRIEVERS,
        _MANAGERS,
        TOOLS,
    )
    rivals = known_rivals("langchain", LangSmithTracing())

    _claiming: Any = None
    """The handler that only keeps the clients below from recording the model calls of a run."""

    def recorder(self) -> Recorder:
        """Return the recorder for a handler that the app has made itself, even if LangChain is not instrumented."""
        return self._recorder if self._open else self._make_recorder(state.chosen, None)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _RETRIEVERS:
            yield patch(module.BaseRetriever, "invoke", retrieving)
            yield patch(module.BaseRetriever, "ainvoke", retrieving_async)
        elif module.__name__ == _MANAGERS:
            yield patch(module, "_configure", self._configuring)
        elif module.__name__ == TOOLS:
            yield from hook_tools(module)
        elif hasattr(module, SETTER):
            yield patch(module, SETTER, entering_body)
        else:
            yield self._register(module)

    def _register(self, module: ModuleType) -> Undoable:
        base: Any = import_module("langchain_core.callbacks.base").BaseCallbackHandler
        kind: Any = type("PandaProbeCallbackHandler", (RunCallbacks, base), {})
        handler = kind(self._recorder_if_on, claims_only=self._leaves_it_to_others)
        self._claiming = kind(self._recorder_if_on, claims_only=lambda: True)
        # The variable's default applies in every thread and task. The class keeps our handler from being added to runs
        # that already have one of ours.
        variable: ContextVar[Any] = ContextVar("pandaprobe_langchain_handler", default=handler)
        module.register_configure_hook(variable, inheritable=True, handle_class=RunCallbacks)
        hooks = module._configure_hooks  # pyright: ignore[reportPrivateUsage]
        entry = hooks[-1]

        def undo() -> None:
            """Remove the handler from LangChain's list, which has no API for this."""
            hooks[:] = [each for each in hooks if each is not entry]

        return Undo(undo)

    def _configuring(self, original: OriginalCall) -> Any:
        """Wrap the function that gathers a run's handlers: the runs of Langfuse's handler are left to it."""
        manager = original()
        if _LANGFUSE.module in sys.modules and self._open and not self._beside_others:
            guarded(self._leave_to_langfuse, manager)
        return manager

    def _leave_to_langfuse(self, manager: Any) -> None:
        kind = getattr(sys.modules[_LANGFUSE.module], "LangchainCallbackHandler", ())
        if not any(isinstance(each, kind) for each in manager.handlers):
            return
        if Watch(rivals=(_LANGFUSE,), tracer=self._recorder.tracer).active() is None:
            return
        for handler in [each for each in manager.handlers if isinstance(each, RunCallbacks)]:
            if handler is not self._claiming:
                manager.remove_handler(handler)
                manager.add_handler(self._claiming, inherit=True)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.handlers"), name)
