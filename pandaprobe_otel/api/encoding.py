"""Encoding of arguments as requests, and decoding of answers as models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import orjson
from pydantic import TypeAdapter, ValidationError

from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.errors import FieldError, InvalidRequest, ServerError
from pandaprobe_otel.mapping.clean import clean

T = TypeVar("T")


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a type, which is created on first use."""
    return TypeAdapter(kind)


def checked(kind: Any, values: Any, *, what: str) -> Any:
    """Return the values converted to their types.

    Raises:
        InvalidRequest: some values are wrong. `errors` has the path of each value, in the server's notation.
    """
    try:
        return adapter(kind).validate_python(values)
    except ValidationError as error:
        raise invalid(what, *field_errors(error)) from None


def field_errors(error: ValidationError) -> list[FieldError]:
    """Convert pydantic's errors to the library's; keep one error for each place."""
    found: dict[str, FieldError] = {}
    for row in error.errors(include_url=False, include_input=False):
        message = row["msg"].removeprefix("Value error, ")
        if row["type"] == "extra_forbidden":
            message = "there is no such argument"
        # Path elements such as `function-before[...]` are names of validators, not of fields.
        field = " -> ".join(str(part) for part in row["loc"] if "[" not in str(part))
        found.setdefault(field, FieldError(field, message))
    return list(found.values())


def invalid(what: str, *errors: FieldError) -> InvalidRequest:
    """Return the error for a request that is not sent because it could not succeed."""
    words = "; ".join(f"{error.field}: {error.message}".removeprefix(": ") for error in errors[:5])
    return InvalidRequest(f"{what} was not sent: {words}.", errors=errors)


def query_text(values: Mapping[str, Any]) -> str:
    """Return the query of a URL with its question mark; empty if there are no values. None means "not given"."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if value is not None:
            items = cast("Sequence[Any]", value) if isinstance(value, list) else [value]
            pairs.extend((name, _query_value(item)) for item in items)
    return f"?{urlencode(pairs)}" if pairs else ""


def _query_value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def body_bytes(body: Any) -> bytes:
    """Return the JSON of a body, without content that the server accepts but then fails on (`mapping.clean`).

    Each field, and each field of each span, is cleaned separately, because the result of one cleaning is bounded.
    """
    if isinstance(body, list):
        return orjson.dumps([_cleaned(span) for span in cast("Sequence[Mapping[str, Any]]", body)])
    return orjson.dumps(_cleaned(body))


def _cleaned(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [_cleaned(span) for span in value] if name == "spans" else clean(value) for name, value in fields.items()
    }


def read_answer(endpoint: Endpoint[T], body: bytes, *, status: int) -> T:
    """Read an answer's body.

    Raises:
        ServerError: the body is not an answer of this endpoint.
    """
    content = b"null" if endpoint.answer is type(None) else body
    try:
        answer: T = adapter(cast("Any", endpoint.answer)).validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = " -> ".join(str(part) for part in first["loc"])
        where = f"{place}: {first['msg']}" if place else first["msg"]
        raise ServerError(
            f"{endpoint} did not answer as a PandaProbe does ({where}). Is the endpoint the base URL of a PandaProbe?",
            status=status,
        ) from None
    return answer
