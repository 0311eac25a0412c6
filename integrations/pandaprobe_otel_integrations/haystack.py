"""OpenTelemetry spans for Haystack, from a tracer that Haystack calls."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import Span

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration, Outcome
from pandaprobe_otel_integrations._json import Content, items, obj, string
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages
from pandaprobe_otel_integrations._openai_protocol.usage import (
    COUNTED,
    PARAMETERS,
    usage_attributes,
)
from pandaprobe_otel_integrations._other_members import answer_data, parameters, rest, uncounted
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import Undo, Undoable
from pandaprobe_otel_integrations._runs import RUN_KEY, Run, RunRecorder
from pandaprobe_otel_integrations._spans import (
    RETRIEVAL,
    ModelClaim,
    agent,
    present,
    record_raised,
    tool,
)

__all__ = ["HaystackInstrumentor"]


# -- names and attributes of Haystack's operations, from the tags that it sets on them ---------------------------------

Tags = Mapping[str, Any]

_LLM_INPUTS: Final = ("haystack.agent.step.llm.input", "haystack.component.input")
_LLM_OUTPUTS: Final = ("haystack.agent.step.llm.output", "haystack.component.output")
_READ: Final = PARAMETERS.known | {"stream_options"}
_TOLD: Final = frozenset({"model", "finish_reason", "index", "completion_start_time", "id"})
_OF_AGENTS: Final = frozenset({"messages", "last_message", "streaming_callback", "tools", "snapshot", "break_point"})
"""Members of an agent's input and output that are messages, tools or internals."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The form in which an operation is shown. `content` reads its final tags."""

    name: str
    attributes: Mapping[str, Any]
    content: Callable[[Tags], Content]


def described(operation: str, tags: Tags) -> Kind | None:
    """Return the form of an operation; None for steps of an agent's loop and for hooks, which get no span."""
    if operation == "haystack.component.run":
        return _component(tags)
    return _tool(tags) if operation == "haystack.agent.step.tool" else _OPERATIONS.get(operation)


# -- model calls ------------------------------------------------------------------------------------------------------


def _model_facts(tags: Tags) -> dict[str, Any]:
    asked, metas = obj(_first(tags, _LLM_INPUTS)), _metas(tags)
    meta: Tags = metas[0] if metas else {}
    model = string(meta.get("model"))
    reasons = [reason for one in metas if (reason := string(one.get("finish_reason")))]
    return {
        **PARAMETERS.read(obj(asked.get("generation_kwargs"))),
        names.REQUEST_MODEL: model,
        names.RESPONSE_MODEL: model,
        names.FINISH_REASONS: reasons or None,
        names.STREAM: True if asked.get("streaming_callback") is not None else None,
        ours.COMPLETION_START_TIME: guarded(_instant, meta.get("completion_start_time")),
        **usage_attributes(meta.get("usage")),
    }


def _instant(text: Any) -> int | None:
    """Return the time at which the first chunk arrived, local time as Haystack reports it, in ns since the epoch."""
    return int(datetime.fromisoformat(text).timestamp() * 1e9) if isinstance(text, str) else None


def _model_content(tags: Tags) -> Content:
    asked, metas = obj(_first(tags, _LLM_INPUTS)), _metas(tags)
    replies = items(obj(_first(tags, _LLM_OUTPUTS)).get("replies"))
    choices = [
        {"message": _chat(one, "assistant"), "finish_reason": string(meta.get("finish_reason")) or "stop"}
        for one, meta in zip(replies, [*metas, *({} for _ in replies)], strict=False)
    ]
    prompt = asked.get("prompt")
    messages = asked.get("messages") or ([prompt] if prompt else [])
    return {
        names.INPUT_MESSAGES: conversation(messages),
        names.TOOL_DEFINITIONS: [_definition(one) for one in _tools(asked.get("tools"))],
        names.OUTPUT_MESSAGES: output_messages(choices),
        **parameters(obj(asked.get("generation_kwargs")), _READ),
        **_rest(metas),
    }


def _rest(metas: list[Mapping[str, Any]]) -> Content:
    """Return values that accompany the answers, such as log probabilities."""
    found: dict[str, Any] = {}
    for meta in metas:
        found |= rest({**meta, "usage": uncounted(meta.get("usage"), COUNTED)}, _TOLD)
    return answer_data(**found)


def _metas(tags: Tags) -> list[Mapping[str, Any]]:
    """Return the data that accompanies each reply: in a chat message, or (in text generators) beside the texts."""
    said = obj(_first(tags, _LLM_OUTPUTS))
    beside = items(said.get("meta"))
    return [
        obj(getattr(one, "meta", None)) or obj(beside[at] if at < len(beside) else None)
        for at, one in enumerate(items(said.get("replies")))
    ]


def conversation(messages: Any) -> list[Part]:
    """Return Haystack's messages in the form of the conventions. A text counts as a message of the user."""
    given = [messages] if isinstance(messages, str) else items(messages)
    return [input_message(_chat(one, "user")) for one in given]


def _chat(message: Any, role: str) -> Mapping[str, Any]:
    if isinstance(message, str):
        return {"role": role, "content": message}
    said = dict(message.to_openai_dict_format(require_tool_call_ids=False))
    thought = getattr(getattr(message, "reasoning", None), "reasoning_text", None)
    return {**said, "reasoning": thought} if thought else said


def _tools(tools: Any) -> list[Any]:
    return [
        one for entry in items(tools) or list(tools or ()) for one in (items(getattr(entry, "tools", None)) or [entry])
    ]


def _definition(tool: Any) -> Part:
    told = {key: getattr(tool, key, None) for key in ("name", "description", "parameters")}
    return {"type": "function", **{key: value for key, value in told.items() if value is not None}}


# -- components, pipelines, agents, tools -----------------------------------------------------------------------------


def _component(tags: Tags) -> Kind:
    kind = str(tags.get("haystack.component.type") or "")
    name = string(tags.get("haystack.component.name")) or kind or "component"
    if kind.endswith("Generator"):
        return _MODEL_CALL
    if kind.endswith(("Retriever", "Ranker")):
        return Kind(name, RETRIEVAL, _retrieval)
    if kind.endswith("Embedder"):
        return Kind(name, {ours.OPERATION_NAME: "embeddings"}, _embedded)
    return Kind(name, _CHAIN, _passed_on("haystack.component.input", "haystack.component.output"))


def _passed_on(given: str, made: str) -> Callable[[Tags], Content]:
    return lambda tags: {ours.INPUT: plain(tags.get(given)), ours.OUTPUT: plain(tags.get(made))}


def _retrieval(tags: Tags) -> Content:
    asked, found = obj(tags.get("haystack.component.input")), obj(tags.get("haystack.component.output"))
    documents = [_document(one) for one in items(found.get("documents"))]
    given = {name: _without_vector(value) for name, value in obj(plain(asked)).items()}
    told = {names.RETRIEVAL_DOCUMENTS: documents}
    if given.keys() - {"query"}:  # search settings, or a vector in place of a query
        return {ours.INPUT: given, **told}
    return {names.RETRIEVAL_QUERY: string(asked.get("query")), **told}


def _without_vector(value: Any) -> Any:
    numbers = items(value)
    return f"[vector of {len(numbers)} numbers]" if numbers and isinstance(numbers[0], float) else value


def _embedded(tags: Tags) -> Content:
    """Return the texts; vectors carry no readable information."""
    asked = obj(tags.get("haystack.component.input"))
    documents = [getattr(one, "content", None) for one in items(asked.get("documents"))]
    return {ours.INPUT: asked.get("text") or documents}


def _talk(tags: Tags) -> Content:
    """Return the agent's question, and its last answer."""
    given, made = obj(tags.get("haystack.agent.input")), obj(tags.get("haystack.agent.output"))
    asked, said = items(given.get("messages")), items(made.get("messages"))
    last = [{"message": _chat(said[-1], "assistant"), "finish_reason": "stop"}] if said else []
    return {
        names.INPUT_MESSAGES: conversation(asked),
        names.OUTPUT_MESSAGES: output_messages(last),
        ours.INPUT: _state(given, asked),
        ours.OUTPUT: _state(made, said[-1:]),
    }


def _state(values: Tags, messages: list[Any]) -> dict[str, Any] | None:
    """Return the messages with the other members of the agent's state; None if the state has no other members."""
    more = plain({name: value for name, value in values.items() if name not in _OF_AGENTS})
    return {"messages": plain(messages), **more} if more else None


def _tool(tags: Tags) -> Kind:
    name = string(tags.get("haystack.tool.name")) or "tool"
    attributes = {**tool(name), "gen_ai.tool.description": string(tags.get("haystack.tool.description"))}
    return Kind(
        f"execute_tool {name}",
        attributes,
        lambda told: {
            names.TOOL_CALL_ARGUMENTS: told.get("haystack.agent.step.tool.input"),
            names.TOOL_CALL_RESULT: plain(told.get("haystack.agent.step.tool.output")),
        },
    )


_CHAIN: Final = {ours.KIND: "CHAIN"}
_MODEL_CALL: Final = Kind("chat", {ours.OPERATION_NAME: "chat"}, _model_content)
_OPERATIONS: Final[Mapping[str, Kind]] = {
    "haystack.pipeline.run": Kind(
        "pipeline", _CHAIN, _passed_on("haystack.pipeline.input_data", "haystack.pipeline.output_data")
    ),
    "haystack.agent.run": Kind("agent", agent("agent"), _talk),
    "haystack.agent.step.llm": _MODEL_CALL,
}


def plain(value: Any) -> Any:
    """Return the values of components as JSON: messages as chat messages, documents without their vectors."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in obj(value).items() if one is not None}  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in items(value)]  # pyright: ignore[reportUnknownArgumentType]
    if hasattr(value, "to_openai_dict_format"):
        return dict(_chat(value, "user"))
    return _document(value) if hasattr(value, "content") and hasattr(value, "embedding") else value


def _document(one: Any) -> dict[str, Any]:
    return {"id": one.id, "content": one.content, "score": one.score, "metadata": one.meta}


def _first(tags: Tags, keys: tuple[str, ...]) -> Any:
    return next((tags[key] for key in keys if key in tags), None)


# -- Haystack's operations as spans. Haystack opens and closes each around the code of the operation -------------------


@dataclass(slots=True, eq=False, kw_only=True)
class Operation(Run):
    """A stand-in for Haystack's `Span`. It is written at its end, when all data is known."""

    kind: Kind | None = None
    told: dict[str, Any] = field(default_factory=dict[str, Any])

    def set_tag(self, key: str, value: Any) -> None:
        """Set a fact about the operation, or its content: our own switch decides whether that is recorded."""
        self.told[key] = value

    set_content_tag = set_tag

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several facts."""
        self.told.update(tags)

    def raw_span(self) -> Any:
        """Return the OpenTelemetry span, or this object if there is none."""
        return self if self.span is None else self.span

    def get_correlation_data_for_logs(self) -> dict[str, Any]:
        """Return nothing: OpenTelemetry correlates log records."""
        return {}


class HaystackTracer(RunRecorder):
    """A stand-in for Haystack's `Tracer`, which needs only its methods."""

    @contextmanager
    def trace(
        self, operation_name: str, tags: Mapping[str, Any] | None = None, parent_span: Any = None
    ) -> Generator[Operation]:
        """Yield a span around the block, which belongs to it. Exceptions pass unchanged."""
        operation = Operation(run_id=object(), parent=None, context=get_current(), told={**(tags or {})})
        guarded(self._begin, operation, operation_name, parent_span)
        try:
            yield operation
        except BaseException as error:
            self._finish(operation, error)
            raise
        self._finish(operation, None)

    def current_span(self) -> Operation | None:
        """Return the innermost current operation."""
        run = get_current().get(RUN_KEY)
        return run if isinstance(run, Operation) else None

    def _begin(self, operation: Operation, name: str, outer: Any) -> None:
        kind, recorder, base = described(name, operation.told), self._recorder(), operation.context
        if isinstance(outer, Operation) and not isinstance(base.get(RUN_KEY), Run):
            base = outer.context  # a thread that Haystack has started without the caller's context
        if kind is None or (recorder is None and not self._claims_only()):
            return
        is_model_call = kind is _MODEL_CALL
        if recorder is not None:
            base = self._root(base)
            operation.span = recorder.start(kind.name, kind.attributes, context=base, is_model_call=is_model_call)
        around = base.get(RUN_KEY)
        operation.kind, operation.context = kind, base
        operation.parent = around if isinstance(around, Run) else None
        operation.claim = ModelClaim() if is_model_call else None
        self._open(operation).enter_body()

    def _finish(self, operation: Operation, error: BaseException | None) -> None:
        if self.runs.take(operation.run_id) is None:
            return
        if operation.span is not None and operation.kind is not None:
            guarded(self._record, operation.kind, operation.told, operation.span, error)
        self._end(operation)

    def _record(self, kind: Kind, told: Tags, span: Span, error: BaseException | None) -> None:
        if kind is _MODEL_CALL:
            facts = present(_model_facts(told))
            span.set_attributes(facts)
            if model := facts.get(names.REQUEST_MODEL):
                span.update_name(f"chat {model}")
        self._write(span, lambda: kind.content(told))
        if error is not None:
            record_raised(span, error, with_content=self._with_content)
        elif told.get("haystack.tool.error"):
            self._fail(span, "tool_error", obj(told.get("haystack.agent.step.tool.output")).get("error"))


class HaystackInstrumentor(Integration):
    """Pipelines, components, agents, model calls, tools and retrievals, sync and async.

    Pipelines and their components are CHAIN spans, except retrievers and rankers (RETRIEVER), embedders (EMBEDDING)
    and generators (LLM). The model's client makes no second LLM span. If the app has given Haystack a tracer, it stays.
    See `Integration` for the options of `instrument()`.
    """

    library = "haystack"
    hooked_modules = ("haystack.tracing.tracer",)
    _is_in_place: Callable[[], bool] = staticmethod(lambda: True)

    @property
    def outcome(self) -> Outcome:
        """The current state of the instrumentation; it is also disabled while the app's own tracer is set."""
        if self._open and not self._is_in_place():
            return Outcome(state="skipped", reason="Haystack has been given another tracer")
        return super().outcome

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        tracer = HaystackTracer(
            self._recorder_if_alone, claims_only=self._leaves_it_to_others, values=lambda: self.values
        )
        # The app may replace our tracer later.
        self._is_in_place = lambda: module.tracer.actual_tracer is tracer

        def undo() -> None:
            """Turn Haystack's tracing off again."""
            if module.tracer.actual_tracer is tracer:
                module.disable_tracing()

        if not module.is_tracing_enabled():
            module.enable_tracing(tracer)
        yield Undo(undo)
