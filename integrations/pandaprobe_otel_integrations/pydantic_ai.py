"""Pydantic AI's own instrumentation, turned on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from opentelemetry.trace import get_current_span

from pandaprobe_otel.capture.tool_answers import Form, call_async, is_replaying
from pandaprobe_otel.mapping.attributes import OPERATION_NAME, OUTCOME, PARTIAL
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import encoded, items, obj
from pandaprobe_otel_integrations._other_members import parameters, rest
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch, replace
from pandaprobe_otel_integrations._spans import adopt, record_raised, scope_of

__all__ = ["PydanticAIInstrumentor"]


# -- function tools that a recording answers. MCP's tools are answered by the MCP integration --------------------------

TOOLS: Final = "pydantic_ai.toolsets.function"
_RETURN: Final = "$tool_return"
_STEERING: Final = ("CallDeferred", "ApprovalRequired", "SkipToolExecution")
"""Exceptions with which a tool waits for a person; they are not failures."""


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `pydantic_ai.toolsets.function`."""
    yield patch(module.FunctionToolset, "call_tool", _calling)


def _calling(original: OriginalCall) -> Any:
    if not is_replaying():
        return original()
    name, given, call_id = _call(*original.args, **original.kwargs)
    return call_async(name, lambda: given, original, _FORM, call_id=call_id)


def _call(
    name: str, tool_args: Mapping[str, Any], ctx: Any = None, *_: Any, **__: Any
) -> tuple[str, Mapping[str, Any], str | None]:
    return name, tool_args, getattr(ctx, "tool_call_id", None)


def _kept(result: Any) -> Any:
    """Return a result as the model gets it, with the other data of a `ToolReturn`."""
    if type(result).__name__ == "ToolReturn":
        return {_RETURN: _adapter().dump_python(result, mode="json")}
    return import_module("pydantic_core").to_jsonable_python(result)


def _given(said: Any) -> Any:
    if isinstance(said, dict) and set(said) == {_RETURN}:  # pyright: ignore[reportUnknownArgumentType]
        return _adapter().validate_python(said[_RETURN])
    return said  # pyright: ignore[reportUnknownVariableType]


def _adapter() -> Any:
    kind: Any = import_module("pydantic_ai.messages").ToolReturn
    return import_module("pydantic").TypeAdapter(kind)


def _steers(error: BaseException) -> bool:
    return type(error).__name__ in _STEERING


_FORM: Final = Form(kept=_kept, given=_given, steers=_steers)


# -- additions to Pydantic AI's spans: parameters and messages that they leave out -------------------------------------

_ATTRIBUTES: Final = frozenset(
    {"max_tokens", "top_p", "seed", "temperature", "presence_penalty", "frequency_penalty", "timeout"}
)
"""Settings for which the spans have attributes, and timeouts."""
_BINARY: Final = "BinaryContent"
_NOT_SENT: Final = "CachePoint"


class Beside:
    """Wrappers of functions. While `is_on` is False, they only pass calls on."""

    def __init__(self, *, is_on: Callable[[], bool]) -> None:
        self._is_on = is_on

    def settings(self, original: OriginalCall) -> Any:
        """Wrap the attributes of a model's settings."""
        found: dict[str, Any] = original()
        given = original.arg(0, "model_settings")
        if self._is_on() and given:
            found.update(guarded(_parameters, given) or {})
        return found

    def embedding_settings(self, original: OriginalCall) -> Any:
        """Wrap the settings of an embedding. The spans leave out the settings that go into the request's body."""
        found: dict[str, Any] = original()
        given = obj(original.arg(0, "settings"))
        more = rest({"extra_body": given.get("extra_body")}, frozenset()) if self._is_on() else {}
        return {**found, **more}

    def prompt(self, original: OriginalCall) -> Any:
        """Wrap the parts of a question."""
        found: list[Any] = original()
        return (guarded(_with_rest, original.owner.content, found) or found) if self._is_on() else found

    def binary_part(self, original: OriginalCall) -> Any:
        """Wrap the function that describes binary content in a message. The span has only the content's media type."""
        found: dict[str, Any] = original()
        if self._is_on() and len(original.args) > 1 and callable(original.args[1]) and "content" not in found:
            found.update(guarded(_digest_of_text, original.args[1]) or {})
        return found

    def redacted(self, original: OriginalCall) -> Any:
        """Wrap a tool's value, from which binary content is removed."""
        found: Any = original()
        if self._is_on() and _is_binary(original.args[0]):
            return {**obj(found), **(guarded(_digest, original.args[0].data) or {})}
        return found


def _is_binary(value: Any) -> bool:
    return any(base.__name__ == _BINARY for base in type(value).__mro__)


def _parameters(settings: Any) -> dict[str, str]:
    return encoded(parameters(obj(settings), _ATTRIBUTES))


def _digest_of_text(base64_content: Callable[..., Any]) -> dict[str, Any]:
    found = parts.base64_blob(base64_content(), "file", None)
    return {name: found[name] for name in ("bytes", "sha256")}


def _digest(data: bytes) -> dict[str, Any]:
    found = parts.blob(data, "file", None)
    return {name: found[name] for name in ("bytes", "sha256")}


def _with_rest(content: Any, found: list[Any]) -> list[Any]:
    given = [each for each in items(content) if type(each).__name__ != _NOT_SENT]
    if len(given) != len(found):
        return found
    return [{**_rest(each), **obj(part)} for each, part in zip(given, found, strict=True)]


def _rest(given: Any) -> dict[str, Any]:
    return rest({name: getattr(given, name, None) for name in ("metadata", "vendor_metadata")}, frozenset())


_SCOPE: Final = "pydantic-ai"
_INSTRUMENTED: Final = ("Agent", "Embedder")
_FORMAT: Final = 6
"""Version of the spans: the newest, in which tool results have the conventions' role."""
_DEFAULT: Final = "_instrument_default"
"""The attribute that `instrument_all` of a class sets. There is no public way to read its earlier value."""
_FIRST_CHUNK: Final = "time_to_first_chunk"
_ANSWER: Final = "handle_messages"
_LEFT: Final = frozenset({"incomplete", "interrupted"})
"""States of an answer whose stream the app has left. Older versions have no states."""


class PydanticAIInstrumentor(Integration):
    """Runs of agents with their model calls and tools, and embeddings, in the spans that Pydantic AI makes itself.

    An app that has called `instrument_all` keeps its settings, and so does an agent with its own. The model's client
    makes no second span. Messages have the digest of binary content, not the bytes. This adds parameters that have no
    attribute, and data that accompanies texts and files of a question. See `Integration` for the options of
    `instrument()`.
    """

    library = "pydantic_ai"
    makes_own_spans = True
    hooked_modules = ("pydantic_ai", TOOLS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == TOOLS:
            yield from hook_tools(module)
            return
        yield adopt(_SCOPE, is_on=lambda: self._open)
        settings = self._settings()
        for name in _INSTRUMENTED:
            kind: Any = getattr(module, name)
            if kind.__dict__[_DEFAULT] is False:
                yield replace(kind, _DEFAULT, settings)
        yield from self._hook_rest()
        models: Any = import_module("pydantic_ai.models")
        instrumented: Any = import_module("pydantic_ai.models.instrumented").InstrumentationSettings
        yield patch(instrumented, _ANSWER, self._answered)
        if _FIRST_CHUNK in vars(models.StreamedResponse):  # since 2.6
            yield patch(models.StreamedResponse, _FIRST_CHUNK, self._first_chunk)

    def _hook_rest(self) -> Iterable[Undoable]:
        """Yield hooks for parameters and messages that the spans leave out.

        Older versions have them in other places.
        """
        beside = Beside(is_on=lambda: self._open and self._recorder.with_content)
        messages: Any = import_module("pydantic_ai.messages")
        yield patch(messages.UserPromptPart, "otel_message_parts", beside.prompt)
        if hasattr(messages, "_convert_binary_to_otel_part"):
            yield patch(messages, "_convert_binary_to_otel_part", beside.binary_part)
        described: Any = sys.modules.get("pydantic_ai._instrumentation")
        for name, told in (
            ("model_settings_attributes", beside.settings),
            ("_redact_binary_content", beside.redacted),
            ("record_uncaught_errors", self._ending),
        ):
            if hasattr(described, name):
                yield patch(described, name, told)
        of_agents: Any = sys.modules.get("pydantic_ai.capabilities.instrumentation")
        if hasattr(of_agents, "_record_uncaught_errors"):  # its own name for the function, since 2.0
            yield patch(of_agents, "_record_uncaught_errors", self._ending)
        embedders: Any = import_module("pydantic_ai.embeddings.instrumented").InstrumentedEmbeddingModel
        if "_recorded_settings" in vars(embedders):
            yield patch(embedders, "_recorded_settings", beside.embedding_settings)

    @contextmanager
    def _ending(self, original: OriginalCall) -> Generator[Any]:
        """Wrap the block in which Pydantic AI records exceptions, to record cancellations and closed streams too."""
        with original() as entered:
            try:
                yield entered
            except Exception:
                raise
            except BaseException as error:
                if self._open and original.args:
                    guarded(record_raised, original.args[0], error, with_content=self._recorder.with_content)
                raise

    def _first_chunk(self, original: OriginalCall) -> Any:
        """Wrap the method that returns the time until the first chunk, which is called inside the span."""
        waited_s = original()
        if self._open and waited_s is not None:
            guarded(_record_first_chunk, waited_s)
        return waited_s

    def _answered(self, original: OriginalCall) -> Any:
        """Wrap the method that describes an answer in its span."""
        answer = original.arg(1, "response")
        if self._open and getattr(answer, "state", None) in _LEFT:
            guarded(_mark_left, original.args)
        return original()

    def _settings(self) -> Any:
        instrumented: Any = import_module("pydantic_ai.models.instrumented")  # the package has loaded it
        return instrumented.InstrumentationSettings(
            tracer_provider=self._tracer_provider,
            include_content=self._recorder.with_content,
            include_binary_content=False,
            version=_FORMAT,
        )


def _record_first_chunk(waited_s: float) -> None:
    span: Any = get_current_span()
    if scope_of(span) == _SCOPE and span.is_recording() and span.attributes.get(OPERATION_NAME) == "chat":
        span.set_attribute(names.TIME_TO_FIRST_CHUNK, waited_s)


def _mark_left(arguments: Sequence[Any]) -> None:
    """Mark the span among the arguments of the method, whose place differs between versions."""
    for span in arguments:
        if scope_of(span) == _SCOPE and span.is_recording():
            span.set_attribute(OUTCOME, PARTIAL)
