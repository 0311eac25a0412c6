"""The two hooks on a Stainless client: around `request`, and before `_process_response`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from opentelemetry.context import Context, attach, detach, get_current

from pandaprobe_otel_integrations._background_work import BEGUN
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http.call import HttpCall, call_in, without_call
from pandaprobe_otel_integrations._http.late_call import LateCall
from pandaprobe_otel_integrations._http.traced_call import Opened, around, around_async
from pandaprobe_otel_integrations._llm_span import around_repetition, is_taken
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._openai_protocol.uploads import with_files
from pandaprobe_otel_integrations._server_attributes import Places
from pandaprobe_otel_integrations._shape import string
from pandaprobe_otel_integrations._tool_loop import begin_hop

Wrapped = Callable[..., Any]


class StainlessApi(Protocol):
    """The differences between Stainless client libraries."""

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a request; None for a request that is not a model call."""
        ...

    def place(self, client: Any) -> Attributes:
        """Return `gen_ai.provider.name`, `server.address` and `server.port`."""
        ...


class StainlessHooks:
    """Wrappers in wrapt's form. `gate` decides per call; if it is closed, they only pass calls on."""

    def __init__(self, api: StainlessApi, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._api = api
        self._recorder = recorder
        self._gate = gate
        self._places = Places()

    def request(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the synchronous `request`."""
        return around(guarded(self._open, client, args, kwargs), wrapped, args, kwargs)

    async def request_async(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the asynchronous `request`. As in the original, nothing happens before it is awaited."""
        opened = guarded(self._open, client, args, kwargs)
        return await around_async(opened, wrapped, args, kwargs)

    def process_response(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `_process_response` of both clients. Its result, awaitable or not, is passed on."""
        guarded(_show, client, kwargs)
        return wrapped(*args, **kwargs)

    def _open(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        context = get_current()
        around = around_repetition(context) if context else None
        if around is None:
            call = self._call(client, args, kwargs, context)
        else:
            before = attach(around)  # some tracers ask the current context whether to record
            try:
                call = self._call(client, args, kwargs, around)
            finally:
                detach(before)
        if call is not None:
            return call, call.context(context)
        # This is a request inside another one, for example from an event hook; its response does not belong to the
        # outer call.
        bare = without_call(context)
        return None if bare is None else (None, bare)

    def _call(self, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: Context) -> HttpCall | None:
        options = kwargs["options"] if "options" in kwargs else args[1]
        endpoint = self._api.endpoint(options.method, options.url)
        if endpoint is None or is_taken(context) or not self._gate(client):
            return None
        place = self._places.of(client.base_url, client.__class__, lambda: guarded(self._api.place, client) or {})
        body = _sent(options, kwargs)
        if (is_news := getattr(endpoint, "is_news", None)) is not None and "stream" not in body:

            def make(started_ns: int, told: Body) -> ModelCall:
                joined = BEGUN.context_of(string(told.get("id")), context)
                return ModelCall(self._recorder, endpoint, body, place, joined, started_ns)

            return LateCall(client, endpoint, make, is_news)
        if (asked_for := getattr(endpoint, "response_id", None)) is not None:
            context = BEGUN.context_of(asked_for, context)
        return HttpCall(client, begin_hop(self._recorder, endpoint, body, place, context))


def _show(client: Any, kwargs: dict[str, Any]) -> None:
    # Middleware of the anthropic client also sees refused responses, and may send several requests.
    call = call_in(get_current(), client)
    if call is not None:
        response = kwargs["response"]
        call.received(response, kwargs["retries_taken"] if "retries_taken" in kwargs else _resent(response))


def _resent(response: Any) -> int:
    """Return the number of resends from the request's own header, in versions that provide it nowhere else."""
    count = response.request.headers.get("x-stainless-retry-count") or "0"
    return int(count) if count.isdigit() else 0


def _sent(options: Any, kwargs: dict[str, Any]) -> Body:
    """Return the JSON that is sent. A call's `extra_body` overrides it, as in the client."""
    body = options.json_data
    if not isinstance(body, dict):
        return {"stream": True} if kwargs.get("stream") else {}
    if options.files:
        body = with_files(body, options.files)  # pyright: ignore[reportUnknownArgumentType]
    extra = getattr(options, "extra_json", None)
    return {**body, **extra} if isinstance(extra, dict) else body  # pyright: ignore[reportUnknownVariableType]
