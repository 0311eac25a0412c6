"""Hooks on litellm's functions and on its classes of streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import Context, get_current

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http import around, around_async
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._patching import Wrapper

from .arguments import sent
from .call_result import FunctionCall, ObservedStream
from .functions import Function
from .provider import place_of_call, split_model

Wrapped = Callable[..., Any]
STREAM: Final = "_pandaprobe_observed"
"""Attribute with the observer of a stream."""


class CallHooks:
    """Makes wrappers in wrapt's form. `gate` decides per call; if it is closed, they only pass calls on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate

    def synchronous(self, function: Function) -> Wrapper:
        """Wrap a function that returns the answer or a stream."""

        def hook(wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            opened = guarded(self._open, function, args, kwargs)
            return around(opened, wrapped, args, kwargs, show=_show)

        return hook

    def asynchronous(self, function: Function) -> Wrapper:
        """Wrap a coroutine function."""

        async def hook(wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            opened = guarded(self._open, function, args, kwargs)
            return await around_async(opened, wrapped, args, kwargs, show=_show)

        return hook

    def _open(
        self, function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[FunctionCall, Context] | None:
        context = get_current()
        # With fallbacks, this function calls itself for each attempt; each attempt is a call.
        if is_taken(context) or kwargs.get("fallbacks") or not self._gate(None):
            return None
        request = function.request(args, kwargs)
        provider, model = split_model(request.get("model"), request.get("custom_llm_provider"))
        body = {**sent(request), "model": model}
        place = place_of_call(request, provider)
        call = ModelCall(self._recorder, function.endpoint, body, place, context)
        within = call.context(context)
        logging = kwargs.get("litellm_logging_obj")
        return FunctionCall(call, within, function, logging, place[names.PROVIDER]), within


def _show(call: FunctionCall, result: Any) -> None:
    observed = call.take(result)
    if observed is not None:
        setattr(observed[0], STREAM, observed[1])


class StreamHooks:
    """Wrappers of the methods of a stream, in wrapt's form. Streams that are not recorded are passed on."""

    def next(self, wrapped: Wrapped, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `__next__`."""
        observed: ObservedStream | None = stream.__dict__.get(STREAM)
        if observed is None:
            return wrapped(*args, **kwargs)
        token = observed.enter()
        try:
            chunk = wrapped(*args, **kwargs)
        except BaseException as error:
            _record_end(observed, stream, error)
            raise
        finally:
            observed.leave(token)
        observed.items.keep(chunk)
        return chunk

    async def next_async(self, wrapped: Wrapped, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `__anext__`."""
        observed: ObservedStream | None = stream.__dict__.get(STREAM)
        if observed is None:
            return await wrapped(*args, **kwargs)
        token = observed.enter()
        try:
            chunk = await wrapped(*args, **kwargs)
        except BaseException as error:
            _record_end(observed, stream, error)
            raise
        finally:
            observed.leave(token)
        observed.items.keep(chunk)
        return chunk

    def close(self, wrapped: Wrapped, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run before `close` and `aclose`.

        litellm also closes an exhausted or broken stream, and reports its end later.
        """
        observed: ObservedStream | None = stream.__dict__.get(STREAM)
        if observed is not None and not observed.is_being_read:
            observed.ended(stream, "closed")
        return wrapped(*args, **kwargs)


def _record_end(observed: ObservedStream, stream: Any, error: BaseException) -> None:
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        observed.ended(stream, "read")
    else:
        observed.ended(stream, "failed", error)
