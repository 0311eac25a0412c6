"""Tools of frameworks: in a replay, a recording may answer in place of a tool's function.

A framework's method for a tool call does more than call the app's function: it parses arguments, counts, notifies
listeners, and forms the result. All of this must happen in a replay as well. So the method runs on a stand-in: a proxy
of the tool in which only the attribute with the app's function is replaced.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import wrapt

from pandaprobe_otel.capture.tool_answers import AS_IT_IS, Form, call, call_async, is_replaying
from pandaprobe_otel_integrations._shape import obj

Wrapped = Callable[..., Any]


class StandIn(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A proxy of an object that replaces the value of one attribute."""

    __wrapped__: Any

    def __init__(self, wrapped: Any, name: str, value: Any) -> None:
        super().__init__(wrapped)  # pyright: ignore[reportUnknownMemberType]
        self._self_name = name
        self._self_value = value

    def __getattr__(self, name: str) -> Any:
        return self._self_value if name == self._self_name else super().__getattr__(name)


def of(method: Any, stand_in: StandIn) -> Callable[..., Any]:
    """Bind the tool's method to the tool's stand-in. Wrappers around the method stay."""
    function = getattr(method, "_self_parent", None) or method.__func__
    bound: Callable[..., Any] = function.__get__(stand_in, type(stand_in.__wrapped__))
    return bound


def asking(
    function: Wrapped,
    name: str,
    arguments: Callable[[], Mapping[str, Any]],
    form: Form = AS_IT_IS,
    *,
    call_id: Any = None,
) -> Callable[..., Any]:
    """Return a function of the same signature that asks the recording first."""

    known = call_id if isinstance(call_id, str) else None

    def around(wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(wrapped):
            return call_async(name, arguments, lambda: wrapped(*args, **kwargs), form, call_id=known)
        return call(name, arguments, lambda: wrapped(*args, **kwargs), form, call_id=known)

    return wrapt.FunctionWrapper(function, around)


def _as_it_is(_: Any, __: dict[str, Any]) -> Form:
    return AS_IT_IS


def asked(
    attribute: str,
    arguments: Callable[[Any, tuple[Any, ...], dict[str, Any]], Mapping[str, Any]],
    *,
    name: Callable[[Any], str] = lambda tool: str(tool.name),
    form: Callable[[Any, dict[str, Any]], Form] = _as_it_is,
    unless: Callable[[Any], bool] = lambda _: False,
) -> Callable[..., Any]:
    """Return a wrapper for the method by which a framework calls a tool.

    Args:
        attribute: The attribute of the tool that the method calls.
        arguments: Returns the model's arguments, from the tool and the method's arguments.
        name: Returns the tool's name.
        form: Returns the form of the results, from the tool and the method's named arguments.
        unless: Returns True for a tool that must always run.
    """

    def around(wrapped: Any, tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function = getattr(tool, attribute, None) if is_replaying() else None
        if function is None or unless(tool):
            return wrapped(*args, **kwargs)
        given = asking(
            function,
            name(tool),
            lambda: arguments(tool, args, kwargs),
            form(tool, kwargs),
            call_id=kwargs.get("tool_call_id"),
        )
        return of(wrapped, StandIn(tool, attribute, given))(*args, **kwargs)

    return around


def json_or_text(result: Any) -> Any:
    """Return a result as the model gets it: as JSON, or as text if JSON has no form for it."""
    try:
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return str(result)
    return result


def read_json(text: Any) -> Mapping[str, Any]:
    """Return the arguments that a model has written; text that is not a JSON object is returned under one name."""
    try:
        found: Any = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        found = None
    return obj(found) if isinstance(found, Mapping) else {"input": text}
