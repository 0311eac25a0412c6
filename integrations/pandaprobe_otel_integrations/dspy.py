"""OpenTelemetry spans for DSPy, from a callback that DSPy calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded, observing
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Content, items, obj, objects, string
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages, tool_definition
from pandaprobe_otel_integrations._openai_protocol.usage import PARAMETERS, usage_attributes
from pandaprobe_otel_integrations._other_members import parameters, rest
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._runs import RUN_KEY, Run, RunRecorder
from pandaprobe_otel_integrations._servers import place_at, provider_name
from pandaprobe_otel_integrations._spans import RETRIEVAL, ModelClaim, present, record_raised, tool
from pandaprobe_otel_integrations._spans import agent as agent_attributes

__all__ = ["DSPyInstrumentor"]


# -- inputs and outputs of modules and tools ---------------------------------------------------------------------------

_AGENTS: Final = frozenset({"Avatar", "CodeAct", "ProgramOfThought", "ReAct", "ReActV2", "RLM"})
"""Modules of DSPy that call tools, or run code, in a loop."""
_RETRIEVERS: Final = frozenset({"Retrieve", "ColBERTv2", "Embeddings"})


def module(instance: Any) -> tuple[str, Mapping[str, Any]]:
    """Return name and attributes of a module: its class determines the kind, even if the app derives from it."""
    name = type(instance).__name__
    classes = {base.__name__ for base in type(instance).__mro__}
    if classes & _AGENTS:
        return name, agent_attributes(name)
    if classes & _RETRIEVERS:
        return name, RETRIEVAL
    return name, {ours.KIND: "CHAIN"}


def asked(instance: Any, inputs: Any) -> Content:
    """Return the arguments of a module."""
    said = obj(inputs)
    keyword = dict(obj(said.get("kwargs")))
    positional = items(said.get("args"))
    query = string(keyword.get("query")) or next((text for text in positional if isinstance(text, str)), None)
    if module(instance)[1][ours.KIND] == "RETRIEVER" and query:
        return {names.RETRIEVAL_QUERY: query}
    # A module that is called with the fields of its signature has no positional arguments.
    return {ours.INPUT: {**keyword, **({"args": positional} if positional else {})}}


def answered(name: str, outputs: Any) -> Content:
    """Return the result of a module: the fields of a prediction, or anything else."""
    fields = getattr(outputs, "toDict", None)
    told = fields() if callable(fields) else outputs
    passages = obj(told).get("passages")
    if name in _RETRIEVERS and passages is not None:
        return {names.RETRIEVAL_DOCUMENTS: [{"content": str(text)} for text in items(passages)]}
    return {ours.OUTPUT: told}


# -- DSPy's data about a model call, as attributes of the GenAI conventions --------------------------------------------

_READ: Final = PARAMETERS.known | {
    "messages", "prompt", "tools", "api_base", "base_url", "api_version", "headers", "num_retries", "cache",
}  # fmt: skip
_SAID: Final = frozenset({"text", "reasoning_content", "tool_calls"})


def request(lm: Any, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the span's name, and model, provider, address and parameters of a call of `lm`."""
    given = {**obj(getattr(lm, "kwargs", None)), **obj(inputs.get("kwargs"))}
    provider, _, model = str(getattr(lm, "model", "")).rpartition("/")
    # A route such as `azure/eu/gpt-4o` starts with the provider; a model without a route is DSPy's stand-in for tests.
    who = provider_name(provider.partition("/")[0]) if provider else "dspy"
    place = place_at(string(given.get("api_base")) or string(given.get("base_url")) or "", who)
    attributes = {ours.OPERATION_NAME: "chat", **place, **PARAMETERS.read({**given, "model": model})}
    return (f"chat {model}" if model else "chat"), attributes


def request_content(lm: Any, inputs: Mapping[str, Any]) -> Content:
    """Return the conversation, the tools that the model may call, and the parameters without an attribute."""
    prompt = inputs.get("prompt")
    asked = objects(inputs.get("messages")) or ([{"role": "user", "content": prompt}] if string(prompt) else [])
    return {
        names.INPUT_MESSAGES: [input_message(one) for one in asked],
        names.TOOL_DEFINITIONS: [tool_definition(one) for one in objects(obj(inputs.get("kwargs")).get("tools"))],
        **parameters({**obj(getattr(lm, "kwargs", None)), **obj(inputs.get("kwargs"))}, _READ),
    }


def answer_attributes(result: Any) -> dict[str, Any]:
    """Return usage, ids and finish reasons of a `CallResult`."""
    answers = items(getattr(result, "responses", None))
    reasons = [reason for one in answers if (reason := string(getattr(one, "finish_reason", None)))]
    told: dict[str, Any] = {
        names.RESPONSE_MODEL: string(getattr(result, "response_model", None)),
        names.RESPONSE_ID: next((found for one in answers if (found := string(getattr(one, "id", None)))), None),
        names.FINISH_REASONS: reasons or None,
    }
    if getattr(result, "cache_hit", False):
        return {**told, ours.CACHED: True}
    return {**told, **usage_attributes(getattr(result, "usage", None))}


def answer_content(call: Any, result: Any) -> Content:
    """Return the answers, each a text or an object with a text, the reasoning before it and tool calls."""
    answers = items(getattr(result, "responses", None))
    reasons = [string(getattr(one, "finish_reason", None)) for one in answers]
    choices = [
        {"message": _message(one), "finish_reason": reasons[at] if at < len(reasons) else "stop"}
        for at, one in enumerate(items(getattr(result, "outputs", None)))
    ]
    return {names.OUTPUT_MESSAGES: output_messages(choices)}


def _message(output: Any) -> dict[str, Any]:
    if isinstance(output, str):
        return {"role": "assistant", "content": output}
    said = obj(output)
    return {
        "role": "assistant",
        "content": said.get("text"),
        "reasoning_content": said.get("reasoning_content"),
        "tool_calls": said.get("tool_calls"),
        **rest(said, _SAID),
    }


# -- DSPy's callbacks as spans -----------------------------------------------------------------------------------------


class StepCallback(RunRecorder):
    """A stand-in for DSPy's `BaseCallback`, which needs only its methods."""

    @observing
    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Start a module."""
        self._begin(call_id, *module(instance), lambda: asked(instance, inputs))

    @observing
    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """End a module."""
        self._finish(call_id, exception, lambda name: answered(name, outputs))

    @observing
    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Start a tool."""
        name = string(getattr(instance, "name", None)) or "tool"
        attributes = {**tool(name), "gen_ai.tool.description": string(getattr(instance, "desc", None))}
        given = lambda: {names.TOOL_CALL_ARGUMENTS: dict(obj(obj(inputs).get("kwargs")))}  # noqa: E731
        self._begin(call_id, f"execute_tool {name}", attributes, given)

    @observing
    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """End a tool."""
        self._finish(call_id, exception, lambda name: {names.TOOL_CALL_RESULT: outputs})

    @observing
    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Start a model call."""
        name, attributes = request(instance, inputs)
        self._begin(call_id, name, attributes, lambda: request_content(instance, inputs), is_model_call=True)

    @observing
    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """End a model call, which has answered or failed."""
        self._finish(call_id, exception, lambda name: {})

    def answered(self, lm: Any, call: Any, result: Any) -> None:
        """Record the model's answer, before DSPy parses it for its caller."""
        step = get_current().get(RUN_KEY)
        if isinstance(step, Run) and step.claim is not None and step.span is not None:
            step.span.set_attributes(present(answer_attributes(result)))
            self._write(step.span, lambda: answer_content(call, result))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):  # DSPy's other events: the work of its adapters, evaluations, interpreters
            return _ignore
        raise AttributeError(name)

    def _begin(
        self,
        call_id: str,
        name: str,
        attributes: Mapping[str, Any],
        content: Callable[[], Content],
        *,
        is_model_call: bool = False,
    ) -> None:
        if (recorder := self._recorder()) is not None:
            base = self._root(get_current())
            span = recorder.start(name, attributes, content, context=base, is_model_call=is_model_call)
            around = base.get(RUN_KEY)
            parent = self.runs.get(around.run_id) if isinstance(around, Run) else None
            claim = ModelClaim() if is_model_call else None
            self._open(Run(run_id=call_id, parent=parent, context=base, span=span, name=name, claim=claim)).enter_body()

    def _finish(self, call_id: str, exception: BaseException | None, content: Callable[[str], Content]) -> None:
        run = self.runs.take(call_id)
        if run is None or run.span is None:
            return
        if exception is not None:
            record_raised(run.span, exception, with_content=self._with_content)
        else:
            self._write(run.span, lambda: content(run.name))
        self._end(run)


def _ignore(**told: Any) -> None:
    """Ignore the event."""


_SETTINGS: Final = "dspy.dsp.utils.settings"
_EXECUTION: Final = "dspy.clients.execution"


class DSPyInstrumentor(Integration):
    """Modules, agents, model calls, tools and retrievals, sync, async and streamed by `streamify`.

    Agents (such as `ReAct`) are AGENT spans, other modules CHAIN spans. One model call is one LLM span; the model's
    client makes no second one. An answer from DSPy's cache has no tokens, because the first call counted them. Each
    program run of an evaluation or an optimisation is a separate trace. See `Integration` for the options of
    `instrument()`.
    """

    library = "dspy"
    hooked_modules = (_SETTINGS, _EXECUTION)
    _callback: StepCallback

    def _instrument(self, **kwargs: Any) -> None:
        self._callback = StepCallback(self._recorder_if_alone, values=lambda: self.values)
        super()._instrument(**kwargs)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if hasattr(module, "finalize"):
            yield patch(module, "finalize", self._finalizing)
        else:
            # DSPy reads the callbacks here before each call; the app's own callbacks stay unchanged.
            yield patch(module.Settings, "get", self._getting)

    def _getting(self, original: OriginalCall) -> Any:
        found = original()
        if original.args[:1] == ("callbacks",) and self._recorder_if_alone() is not None:
            return [*(found or ()), self._callback]
        return found

    def _finalizing(self, original: OriginalCall) -> Any:
        guarded(self._callback.answered, *original.args)
        return original()
