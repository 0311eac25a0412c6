"""`embedContent` and `batchEmbedContents`, and embeddings by Vertex AI's `predict`. Vectors are never recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._other_members import PARAMETERS, Counts, beside, rest
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, objects, string
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events, last_data

from .contents import content_parts, in_python
from .generate import failure_in, parameters_in

_BODY: Final = frozenset(
    {"model", "content", "requests", "instances", "parameters", "embedContentConfig", "outputDimensionality"}
)
_SIZE: Final = frozenset({"outputDimensionality"})
_INSTANCE: Final = frozenset({"model", "content", "outputDimensionality"})
_ANSWER: Final = frozenset({"embeddings", "embedding", "predictions", "usageMetadata", "error", "sdkHttpResponse"})
_COUNTED: Final[Counts] = dict.fromkeys(("promptTokenCount", "totalTokenCount"))


class Embeddings:
    """Embeddings of one or several contents, in each of the three forms of Google's services."""

    operation = "embeddings"
    last_event: LastEvent | None = None

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and the requested dimensions."""
        asked = [body, *objects(body.get("requests")), obj(body.get("parameters")), obj(body.get("embedContentConfig"))]
        sizes = [integer(one.get("outputDimensionality")) for one in asked]
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.DIMENSION_COUNT: next((size for size in sizes if size is not None), None),
        }

    def request_content(self, body: Body) -> Content:
        """Return the content to embed."""
        contents = [one.get("content") for one in (body, *objects(body.get("requests")))]
        found = [part for content in contents for part in content_parts(objects(obj(content).get("parts")))]
        texts = [string(one.get("content")) for one in objects(body.get("instances"))]
        found += [parts.text(text) for text in texts if text]
        return {names.INPUT_MESSAGES: [{"role": "user", "parts": found}] if found else [], **_parameters(body)}

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the length of the vectors, and the tokens if the service counts them."""
        predicted = [obj(one.get("embeddings")) for one in objects(body.get("predictions"))]
        vectors = [*objects(body.get("embeddings")), *predicted, obj(body.get("embedding"))]
        sizes = [len(items(vector.get("values"))) for vector in vectors]
        usage = obj(body.get("usageMetadata"))
        return Answer(
            attributes={
                names.DIMENSION_COUNT: next((size for size in sizes if size), None),
                names.INPUT_TOKENS: integer(usage.get("promptTokenCount")) or _counted(predicted),
            },
            content=beside(body, _ANSWER, _COUNTED, "usageMetadata") if with_content else {},
            failure=failure_in(body.get("error")),
        )

    def merged(self, events: Events) -> Body:
        """Return nothing: embeddings are not streamed."""
        return obj(last_data(events))

    def is_output(self, event: Event) -> bool:
        """Return False: embeddings are not streamed."""
        return False


def _parameters(body: Body) -> Content:
    """Return the parameters. If they differ between several contents, return those of each content."""
    found = parameters_in(body, _BODY, ("parameters", _SIZE), ("embedContentConfig", _SIZE))
    of_each = [rest(one, _INSTANCE) for one in (*objects(body.get("requests")), *objects(body.get("instances")))]
    if not any(of_each):
        return found
    same = of_each[0] if all(one == of_each[0] for one in of_each) else {"requests": of_each}
    return {PARAMETERS: {**obj(found.get(PARAMETERS)), **{in_python(key): value for key, value in same.items()}}}


def _counted(predicted: Iterable[Object]) -> int | None:
    found: list[Any] = [integer(obj(one.get("statistics")).get("token_count")) for one in predicted]
    counts = [count for count in found if count is not None]
    return sum(counts) if counts else None
