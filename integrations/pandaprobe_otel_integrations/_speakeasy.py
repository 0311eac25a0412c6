"""The clients that Speakeasy generates have one function through which every request goes: hooks on that.

It returns the HTTP response, refused ones too, whatever method, helper or raw form the app uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from opentelemetry.context import get_current

from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._http.call import HttpCall
from pandaprobe_otel_integrations._http.traced_call import Opened, around, around_async, show_response
from pandaprobe_otel_integrations._json import from_json
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import ModelCall, Recorder
from pandaprobe_otel_integrations._openai_protocol.uploads import with_files

Wrapped = Callable[..., Any]


class SpeakeasyCall(NamedTuple):
    """The target of a request: the endpoint, its address, and the object by which a client is watched."""

    endpoint: Endpoint
    place: Attributes
    owner: Any


class SpeakeasyHooks:
    """Wrappers in wrapt's form. `gate` decides per call; closed, they only pass on.

    `find` is given the SDK object and its request, and says None for requests that are no model calls.
    """

    def __init__(
        self, recorder: Recorder, gate: Callable[[Any], bool], find: Callable[[Any, Any], SpeakeasyCall | None]
    ) -> None:
        self._recorder = recorder
        self._gate = gate
        self._find = find

    def do_request(self, wrapped: Wrapped, sdk: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the synchronous request."""
        opened = guarded(self._open, sdk, args, kwargs)
        return around(opened, wrapped, args, kwargs, show=show_response)

    async def do_request_async(self, wrapped: Wrapped, sdk: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the asynchronous request."""
        opened = guarded(self._open, sdk, args, kwargs)
        return await around_async(opened, wrapped, args, kwargs, show=show_response)

    def _open(self, sdk: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Opened | None:
        request = kwargs["request"] if "request" in kwargs else args[1]
        context = get_current()
        found = self._find(sdk, request)
        if found is None or is_taken(context) or not self._gate(found.owner):
            return None
        call = HttpCall(sdk, ModelCall(self._recorder, found.endpoint, _sent(request), found.place, context))
        return call, call.context(context)


def _sent(request: Any) -> Body:
    """Return the JSON of a request; of a form its texts, and what there is to say of its files."""
    fields: Any = getattr(request.stream, "fields", None)
    if fields is not None:
        return _form(fields)
    if "form" in (request.headers.get("content-type") or ""):
        return dict(parse_qsl(request.content.decode()))
    body = from_json(request.content)
    return body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _form(fields: Any) -> Body:
    texts = {field.name: field.value for field in fields if isinstance(getattr(field, "value", None), str)}
    files = [
        (field.name, (field.filename, getattr(field, "file", None))) for field in fields if hasattr(field, "filename")
    ]
    return with_files(texts, files)
