"""Pydantic AI's own instrumentation, turned on."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Mapping
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


def _settings(found: dict[str, Any], original: OriginalCall) -> dict[str, Any]:
    """Add the parameters to the attributes of a model's settings."""
    return found | encoded(parameters(obj(original.arg(0, "model_settings")), _ATTRIBUTES))


def _embedding_settings(found: dict[str, Any], original: OriginalCall) -> dict[str, Any]:
    """Add the settings of an embedding that go into the request's body."""
    given = obj(original.arg(0, "settings"))
    return {**found, **rest({"extra_body": given.get("extra_body")}, frozenset())}


def _prompt(found: list[Any], original: OriginalCall) -> list[Any] | None:
    """Add the data that accompanies the parts of a question."""
    given = [each for each in items(original.owner.content) if type(each).__name__ != _NOT_SENT]
    if len(given) != len(found):
        return None
    return [{**_rest(each), **obj(part)} for each, part in zip(given, found, strict=True)]


def _binary_part(found: dict[str, Any], original: OriginalCall) -> dict[str, Any] | None:
    """Add the digest to binary content in a message, of which the span has only the media type."""
    if len(original.args) < 2 or not callable(original.args[1]) or "content" in found:
        return None
    return found | _digest(parts.base64_blob(str(original.args[1]()), "file", None))


def _redacted(found: Any, original: OriginalCall) -> Any:
    """Add the digest to a tool's value from which binary content was removed."""
    given = original.args[0]
    return {**obj(found), **_digest(parts.blob(given.data, "file", None))} if _is_binary(given) else None


def _is_binary(value: Any) -> bool:
    return any(base.__name__ == _BINARY for base in type(value).__mro__)


def _digest(found: parts.Part) -> dict[str, Any]:
    return {name: found[name] for name in ("bytes", "sha256")}


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
        yield adopt(_SCOPE, is_on=self._is_on)
        settings = self._settings()
        for name in _INSTRUMENTED:
            kind: Any = getattr(module, name)
            if kind.__dict__[_DEFAULT] is False:
                yield replace(kind, _DEFAULT, settings)
        yield from self._hook_rest()
        models: Any = import_module("pydantic_ai.models")
        instrumented: Any = import_module("pydantic_ai.models.instrumented").InstrumentationSettings
        yield self._before(instrumented, _ANSWER, _mark_left)
        if _FIRST_CHUNK in vars(models.StreamedResponse):  # since 2.6
            yield self._after(models.StreamedResponse, _FIRST_CHUNK, _record_first_chunk)

    def _hook_rest(self) -> Iterable[Undoable]:
        """Yield hooks for parameters and messages that the spans leave out.

        Older versions have them in other places.
        """
        messages: Any = import_module("pydantic_ai.messages")
        described: Any = sys.modules.get("pydantic_ai._instrumentation")
        if self._recorder.with_content:
            yield self._after(messages.UserPromptPart, "otel_message_parts", _prompt)
            embedders: Any = import_module("pydantic_ai.embeddings.instrumented").InstrumentedEmbeddingModel
            for owner, name, add in (
                (messages, "_convert_binary_to_otel_part", _binary_part),
                (described, "model_settings_attributes", _settings),
                (described, "_redact_binary_content", _redacted),
                (embedders, "_recorded_settings", _embedding_settings),
            ):
                if name in getattr(owner, "__dict__", ()):
                    yield self._after(owner, name, add)
        # Since 2.0, the module of agents has its own name for the function.
        of_agents: Any = sys.modules.get("pydantic_ai.capabilities.instrumentation")
        for owner, name in ((described, "record_uncaught_errors"), (of_agents, "_record_uncaught_errors")):
            if hasattr(owner, name):
                yield patch(owner, name, self._ending)

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

    def _settings(self) -> Any:
        instrumented: Any = import_module("pydantic_ai.models.instrumented")  # the package has loaded it
        return instrumented.InstrumentationSettings(
            tracer_provider=self._tracer_provider,
            include_content=self._recorder.with_content,
            include_binary_content=False,
            version=_FORMAT,
        )


def _record_first_chunk(waited_s: float | None, _: OriginalCall) -> None:
    """Record the time until the first chunk, which Pydantic AI asks for inside the span."""
    span: Any = get_current_span()
    is_call = scope_of(span) == _SCOPE and span.is_recording() and span.attributes.get(OPERATION_NAME) == "chat"
    if is_call and waited_s is not None:
        span.set_attribute(names.TIME_TO_FIRST_CHUNK, waited_s)


def _mark_left(*arguments: Any, **_: Any) -> None:
    """Mark an answer that the app has left on the span among the arguments, whose place differs between versions."""
    if any(getattr(each, "state", None) in _LEFT for each in arguments):
        for span in arguments:
            if scope_of(span) == _SCOPE and span.is_recording():
                span.set_attribute(OUTCOME, PARTIAL)
