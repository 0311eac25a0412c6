"""The instrumentor of a Stainless client library: two hooks on each of its two base clients."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar, Final

from opentelemetry.context import Context, attach, detach, get_current

from pandaprobe_otel_integrations._client_hooks import ClientHooks
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http import HttpCall, LateCall, Opened, call_in, without_call
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import string
from pandaprobe_otel_integrations._model_call import ModelCall, context_of_work
from pandaprobe_otel_integrations._openai_protocol.endpoints import PostedEndpoints
from pandaprobe_otel_integrations._openai_protocol.media import with_files
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, definer, patch, subclasses
from pandaprobe_otel_integrations._servers import Places, place_of
from pandaprobe_otel_integrations._spans import around_repetition, is_taken
from pandaprobe_otel_integrations._tool_loop import begin_hop

# -- the two hooks on a Stainless client: around `request`, and before `_process_response` -----------------------------


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


_RESPONSE: Final = "_process_response"


class StainlessIntegration(ClientHooks, Integration):
    """Base of the instrumentors of openai, anthropic, groq and together."""

    provider: ClassVar[str]
    """`gen_ai.provider.name`."""
    posted: ClassVar[PostedEndpoints]
    """The requests that are model calls."""

    _places = Places()

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a request; None for a request that is not a model call."""
        return self.posted.endpoint(method, path)

    def place(self, client: Any) -> Attributes:
        """Return the provider, and the server from the client's base URL."""
        return place_of(client.base_url, self.provider)

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client and of copies made by `with_options`."""
        super().watch_client(client._client)  # pyright: ignore[reportPrivateUsage]

    def _watched(self, client: Any) -> Any:
        # Copies of a client share its HTTP client.
        return getattr(client, "_client", None)

    def process_response(self, original: OriginalCall) -> Any:
        """Wrap `_process_response` of both clients. Its result, awaitable or not, is passed on."""
        guarded(_show, original.owner, original.kwargs)
        return original()

    def open(self, original: OriginalCall, context: Context | None = None) -> Opened | None:
        """Begin the call of a request. A poll gets its span later, and one inside another request may get none."""
        context = get_current()
        around = around_repetition(context) if context else None
        if around is None:
            call = self._call(original, context)
        else:
            before = attach(around)  # some tracers ask the current context whether to record
            try:
                call = self._call(original, around)
            finally:
                detach(before)
        if call is not None:
            return call, call.context(context)
        if (counted := self._counted(original, self.find(original), context)) is not None:
            return counted
        # This is a request inside another one, for example from an event hook; its response does not belong to the
        # outer call.
        bare = without_call(context)
        return None if bare is None else (None, bare)

    def find(self, original: OriginalCall) -> Endpoint | None:
        """Return the endpoint by method and path."""
        options = original.arg(1, "options")
        return self.endpoint(options.method, options.url)

    def read(self, original: OriginalCall, found: Endpoint) -> tuple[Endpoint, Body, Attributes]:
        """Return the endpoint, the body with `extra_body`, and the place by the client's base URL."""
        options = original.arg(1, "options")
        client = original.owner
        place = self._places.of(client.base_url, client.__class__, lambda: guarded(self.place, client) or {})
        return found, _sent(options, original.kwargs), place

    def _call(self, original: OriginalCall, context: Context) -> HttpCall | None:
        endpoint = self.find(original)
        if endpoint is None or is_taken(context) or not self._recorder.gate(original.owner):
            return None
        endpoint, body, place = self.read(original, endpoint)
        if hasattr(endpoint, "is_news") and "stream" not in body:

            def make(started_ns: int, told: Body) -> ModelCall:
                joined = context_of_work(string(told.get("id")), context)
                return ModelCall(self._recorder, endpoint, body, place, joined, started_ns)

            return LateCall(original.owner, endpoint, make)
        if (asked_for := getattr(endpoint, "response_id", None)) is not None:
            context = context_of_work(asked_for, context)
        return HttpCall(original.owner, begin_hop(self._recorder, endpoint, body, place, context))

    def show(self, call: HttpCall, result: Any) -> None:
        """Do nothing: the response was shown before."""

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        sync, asynchronous = module.SyncAPIClient, module.AsyncAPIClient
        # The hook on the response comes first: a request whose response is not seen would be a span without an answer.
        # Before openai 1.10, both clients inherit one `_process_response`.
        for owner in dict.fromkeys((definer(sync, _RESPONSE), definer(asynchronous, _RESPONSE))):
            yield patch(owner, _RESPONSE, self.process_response)
        for base, wrapper in ((sync, self.call), (asynchronous, self.call_async)):
            yield patch(base, "request", wrapper)
            # If another vendor has wrapped the client itself, the inherited method is never called.
            for client in subclasses(base):
                if "request" in client.__dict__:
                    yield patch(client, "request", wrapper)
