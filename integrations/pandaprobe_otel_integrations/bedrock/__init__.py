"""OpenTelemetry spans for Amazon Bedrock, called through boto3, botocore, aiobotocore or aioboto3."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._client_hooks import ClientHooks
from pandaprobe_otel_integrations._endpoint import Attributes, Body, Endpoint
from pandaprobe_otel_integrations._http import BodyFormat, HttpCall
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import integer, object_from_json, string
from pandaprobe_otel_integrations._patching import OriginalCall, Patch, patch
from pandaprobe_otel_integrations._rivals import Rival, known_rivals
from pandaprobe_otel_integrations._servers import place_at
from pandaprobe_otel_integrations._streams.events import FRAMES
from pandaprobe_otel_integrations.bedrock.body_reading import (
    ObservedEvents,
    ObservedReads,
    observe_bytes,
    observe_events,
)
from pandaprobe_otel_integrations.bedrock.converse import Converse, usage_attributes
from pandaprobe_otel_integrations.bedrock.invoke import invocation

__all__ = ["BedrockInstrumentor"]


# -- hooks on the one function of a botocore client that every operation calls -----------------------------------------

_SERVICE: Final = "bedrock-runtime"
_CONVERSE: Final = Converse()
_CONVERSATIONS: Final = frozenset({"Converse", "ConverseStream"})
_OPERATIONS: Final = _CONVERSATIONS | {"InvokeModel", "InvokeModelWithResponseStream"}
_STREAMS: Final = frozenset({"ConverseStream", "InvokeModelWithResponseStream"})
_JSON: Final = BodyFormat("application/json")
_FRAMES: Final = BodyFormat(FRAMES)
_COUNTS: Final = {
    "inputTokens": "x-amzn-bedrock-input-token-count",
    "outputTokens": "x-amzn-bedrock-output-token-count",
    "cacheReadInputTokens": "x-amzn-bedrock-cache-read-input-token-count",
    "cacheWriteInputTokens": "x-amzn-bedrock-cache-write-input-token-count",
}
"""Headers of an answer, by the names of the counts in bodies."""
_INVOKED: Final = frozenset({"modelId", "body", "contentType", "accept", "guardrailIdentifier"})
"""Members of an invocation that are read; all others are kept with the members of the body."""
_NAMED_ARNS: Final = frozenset({"foundation-model", "inference-profile"})


def _rest(given: Body) -> Body:
    return {name: value for name, value in given.items() if name not in _INVOKED}


def _observe(stream: Any, call: HttpCall) -> None:
    observe_events(stream, call.read_through(stream, ObservedEvents, _FRAMES))


def _counted(headers: Body) -> Body:
    found: dict[str, int] = {}
    for name, header in _COUNTS.items():
        text = headers.get(header)
        if isinstance(text, str) and text.isdigit():
            found[name] = int(text)
    return found


def _model(model_id: str) -> str | None:
    """Return the model in the ARN of a foundation model or inference profile; any other identifier unchanged."""
    arn, _, name = model_id.rpartition("/")
    return (name if arn.rpartition(":")[2] in _NAMED_ARNS else model_id) or None


_SYNC: Final = "botocore.client"
_ASYNC: Final = "aiobotocore.client"


class BedrockInstrumentor(ClientHooks, Integration):
    """`converse`, `invoke_model` and their streams, of existing and later clients.

    Every client of every AWS service calls the wrappers, so calls of other services are passed on at once.

    See `Integration` for the options of `instrument()`.
    """

    library = "bedrock"
    hooked_modules = (_SYNC, _ASYNC)
    rivals = known_rivals("bedrock", Rival(vendor="OpenTelemetry", module="opentelemetry.instrumentation.botocore"))

    def find(self, original: OriginalCall) -> str | None:
        """Return the operation."""
        operation: str = original.arg(0, "operation_name")
        if operation not in _OPERATIONS or original.owner.meta.service_model.service_name != _SERVICE:
            return None
        return operation

    def read(self, original: OriginalCall, found: str) -> tuple[Endpoint, Body, Attributes]:
        """Return the reader of the conversation or of the model's own bodies, the body, and the place."""
        given: Body = original.arg(1, "api_params")
        model_id: Any = given.get("modelId")
        if not isinstance(model_id, str):
            model_id = ""
        model = _model(model_id) if "/" in model_id else model_id
        more = {"model": model, "stream": found in _STREAMS or None}
        endpoint: Endpoint = _CONVERSE
        if found in _CONVERSATIONS:
            body: Body = {**given, **more}
        else:
            # A file that is sent is left unread.
            sent = object_from_json(given.get("body")) or {}
            endpoint = invocation(model_id, sent)
            body = {**sent, **more} if given.keys() <= _INVOKED else {**_rest(given), **sent, **more}
        place = place_at(original.owner.meta.endpoint_url, "aws.bedrock")
        if "guardrailIdentifier" in given:
            place = {**place, names.GUARDRAIL_ID: string(given["guardrailIdentifier"])}
        return endpoint, body, place

    def show(self, call: HttpCall, result: Any) -> None:
        """Show the answer, or the body that the app reads."""
        about: Body = result.get("ResponseMetadata") or {}
        if attempts := about.get("RetryAttempts"):
            call.add({"http.request.resend_count": integer(attempts)})
        if "stream" in result:
            _observe(result["stream"], call)
        elif "body" not in result:
            call.answered(result)
        elif hasattr(result["body"], "_event_generator"):
            _observe(result["body"], call)
        else:
            # Bytes that the app never reads are counted too.
            if counts := _counted(about.get("HTTPHeaders") or {}):
                call.add(usage_attributes(counts))
            observe_bytes(result["body"], call.read_through(result["body"], ObservedReads, _JSON))

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == _ASYNC:
            yield patch(module.AioBaseClient, "_make_api_call", self.call_async)
        else:
            yield patch(module.BaseClient, "_make_api_call", self.call)
