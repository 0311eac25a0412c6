"""Hooks on litellm's functions and on its one class of streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import Context, attach, get_current

from pandaprobe_otel_integrations._context_slot import restore
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._patching import Wrapper

from .call import ObservedStream, returned
from .functions import Function
from .place import place_of_call, split_model

Wrapped = Callable[..., Any]
_STREAM: Final = "_pandaprobe_observed"
"""Attribute of a stream that is recorded."""


class CallHooks:
    """Makes wrappers in wrapt's form. `gate` decides per call; closed, they only pass on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate

    def synchronous(self, function: Function) -> Wrapper:
        """Around a function that returns the answer or a stream."""

        def hook(wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            opened = guarded(self._open, function, args, kwargs)
            if opened is None:
                return wrapped(*args, **kwargs)
            call, context = opened
            token = attach(context)
            try:
                result = wrapped(*args, **kwargs)
            except BaseException as error:
                guarded(_failed, call, error)
                raise
            finally:
                restore(token)
            guarded(_returned, call, context, result, kwargs)
            return result

        return hook

    def asynchronous(self, function: Function) -> Wrapper:
        """Around a coroutine function."""

        async def hook(wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            opened = guarded(self._open, function, args, kwargs)
            if opened is None:
                return await wrapped(*args, **kwargs)
            call, context = opened
            token = attach(context)
            try:
                result = await wrapped(*args, **kwargs)
            except BaseException as error:
                guarded(_failed, call, error)
                raise
            finally:
                restore(token)
            guarded(_returned, call, context, result, kwargs)
            return result

        return hook

    def _open(
        self, function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[ModelCall, Context] | None:
        context = get_current()
        # With fallbacks, this function calls itself for each attempt; an attempt is a call.
        if is_taken(context) or kwargs.get("fallbacks") or not self._gate(None):
            return None
        request = function.request(args, kwargs)
        provider, model = split_model(request.get("model"), request.get("custom_llm_provider"))
        body = {**request, "model": model}
        call = ModelCall(self._recorder, function.endpoint, body, place_of_call(request, provider), context)
        return call, call.context(context)


def _failed(call: ModelCall, error: BaseException) -> None:
    call.raised(error)
    call.end()


def _returned(call: ModelCall, context: Context, result: Any, kwargs: Mapping[str, Any]) -> None:
    stream: Any = result if hasattr(result, "completion_stream") else None
    # A stream of a text completion has one of a chat inside.
    stream = stream.completion_stream if hasattr(getattr(stream, "completion_stream", None), "chunks") else stream
    if stream is None:
        returned(call, result, kwargs.get("litellm_logging_obj"))
    else:
        setattr(stream, _STREAM, ObservedStream(call, context, stream, result))


class StreamHooks:
    """Wrappers of the methods of a stream, in wrapt's form; a stream that is not recorded is passed on."""

    def next(self, wrapped: Wrapped, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around `__next__`."""
        observed: ObservedStream | None = stream.__dict__.get(_STREAM)
        if observed is None:
            return wrapped(*args, **kwargs)
        token = observed.enter()
        try:
            chunk = wrapped(*args, **kwargs)
        except StopIteration:
            observed.ended(stream, "read")
            raise
        except BaseException as error:
            observed.ended(stream, "failed", error)
            raise
        finally:
            observed.leave(token)
        observed.items.keep(chunk)
        return chunk

    async def next_async(self, wrapped: Wrapped, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Around `__anext__`."""
        observed: ObservedStream | None = stream.__dict__.get(_STREAM)
        if observed is None:
            return await wrapped(*args, **kwargs)
        token = observed.enter()
        try:
            chunk = await wrapped(*args, **kwargs)
        except StopAsyncIteration:
            observed.ended(stream, "read")
            raise
        except BaseException as error:
            observed.ended(stream, "failed", error)
            raise
        finally:
            observed.leave(token)
        observed.items.keep(chunk)
        return chunk

    def close(self, wrapped: Wrapped, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Before `close` and `aclose`. litellm also closes what is exhausted or broken, and says so after that."""
        observed: ObservedStream | None = stream.__dict__.get(_STREAM)
        if observed is not None and not observed.is_being_read:
            observed.ended(stream, "closed")
        return wrapped(*args, **kwargs)
