"""Hooks on the two functions of a Fern client that send every request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.context import Context, get_current

from pandaprobe_otel_integrations._endpoint import Attributes, Body
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http.call import HttpCall
from pandaprobe_otel_integrations._http.traced_call import Opened, around, around_async, show_response
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._openai_protocol.uploads import with_files
from pandaprobe_otel_integrations._provider_names import provider_of
from pandaprobe_otel_integrations._server_attributes import place_at
from pandaprobe_otel_integrations._shape import obj

from .endpoints import ENDPOINTS

Wrapped = Callable[..., Any]
_PROVIDER = "cohere"


class CohereHooks:
    """Wrappers in wrapt's form. `gate` decides per call; if it is closed, they only pass calls on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate
        self._carried: dict[int, Context] = {}

    def embed(self, wrapped: Wrapped, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `Client.embed`, which sends requests from its own threads.

        A copy of its options carries the context there.
        """
        options = dict(kwargs.get("request_options") or {})
        self._carried[id(options)] = get_current()
        try:
            return wrapped(*args, **{**kwargs, "request_options": options})
        finally:
            self._carried.pop(id(options), None)

    def request(self, wrapped: Wrapped, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the synchronous request with its resends. It returns the HTTP response, even a refused one."""
        opened = guarded(self._open, http, args, kwargs)
        return around(opened, wrapped, args, kwargs, show=show_response)

    async def request_async(self, wrapped: Wrapped, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the asynchronous request."""
        opened = guarded(self._open, http, args, kwargs)
        return await around_async(opened, wrapped, args, kwargs, show=show_response)

    def stream(self, wrapped: Wrapped, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Replace the context manager that yields the response of a synchronous stream. Apps never see this one."""
        return _Streaming(wrapped(*args, **kwargs), lambda: guarded(self._open, http, args, kwargs))

    def stream_async(self, wrapped: Wrapped, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Replace the context manager that yields the response of an asynchronous stream. Apps never see this one."""
        return _AsyncStreaming(wrapped(*args, **kwargs), lambda: guarded(self._open, http, args, kwargs))

    def _open(self, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        path: Any = kwargs["path"] if "path" in kwargs else args[0]
        endpoint = ENDPOINTS.endpoint(kwargs["method"], path)
        context = self._carried.get(id(kwargs.get("request_options"))) or get_current()
        if endpoint is None or is_taken(context) or not self._gate(http):
            return None
        place = guarded(_place, http, kwargs) or {}
        call = HttpCall(http, ModelCall(self._recorder, endpoint, _sent(kwargs), place, context))
        return call, call.context(context)


class _Streaming:
    def __init__(self, manager: AbstractContextManager[Any], opening: Callable[[], Opened | None]) -> None:
        self._manager = manager
        self._opening = opening

    def __enter__(self) -> Any:
        return around(self._opening(), self._manager.__enter__, show=show_response)

    def __exit__(self, *error: Any) -> bool | None:
        return self._manager.__exit__(*error)


class _AsyncStreaming:
    def __init__(self, manager: AbstractAsyncContextManager[Any], opening: Callable[[], Opened | None]) -> None:
        self._manager = manager
        self._opening = opening

    async def __aenter__(self) -> Any:
        return await around_async(self._opening(), self._manager.__aenter__, show=show_response)

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._manager.__aexit__(*error)


def _place(http: Any, kwargs: dict[str, Any]) -> Attributes:
    url = _cloud_url(http) or http.get_base_url(kwargs.get("base_url"))
    return place_at(url, provider_of(urlsplit(url).hostname or "", _PROVIDER))


def _cloud_url(http: Any) -> str | None:
    """Return the address of a client for another cloud, whose hook replaces the URL of each request; else None."""
    for hook in http.httpx_client.event_hooks.get("request", ()):
        if (address := _CLOUDS.get(getattr(hook, "__module__", None))) is not None:
            held = zip(hook.__code__.co_freevars, hook.__closure__ or (), strict=True)
            return address(sys.modules[hook.__module__], {name: cell.cell_contents for name, cell in held})
    return None


def _aws(module: Any, held: dict[str, Any]) -> str:
    url: str = module.get_url(platform=held["service"], aws_region=held["aws_region"], model="", stream=False)
    return url


def _oci(module: Any, held: dict[str, Any]) -> str:
    url: str = module.get_oci_url(region=held["oci_region"], endpoint="chat")
    return url


_CLOUDS: Final[dict[Any, Callable[[Any, dict[str, Any]], str]]] = {"cohere.aws_client": _aws, "cohere.oci_client": _oci}
"""Functions that return the address, by the module of the hook."""


def _sent(kwargs: dict[str, Any]) -> Body:
    """Return the JSON that is sent.

    It contains marks for members that the app left out, and members from the options.
    """
    left_out = kwargs.get("omit")
    given = {**obj(kwargs.get("data")), **obj(kwargs.get("json"))}
    body = {name: value for name, value in given.items() if value is not left_out}
    body.update(obj(obj(kwargs.get("request_options")).get("additional_body_parameters")))
    files = obj(kwargs.get("files"))
    return with_files(body, dict(files)) if files else body
