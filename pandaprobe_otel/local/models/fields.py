"""Field types that several request bodies share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

INT4_MAX: Final = 2**31 - 1
_INTEGER_TEXT: Final = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)


def _in_utc_range(moment: datetime) -> datetime:
    """Return a moment in UTC, with a naive one taken as UTC. Refuse one that UTC cannot express."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError(
            "datetime_range", "Input should be a datetime of the years 1 to 9999 in UTC"
        ) from None
    return moment


def token_count(value: Any) -> int | None:
    """Return a token count as the server's SQL reads it (an int4, or its text); None if that SQL would fail."""
    if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value) and len(value) < 40:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -INT4_MAX - 1 <= value <= INT4_MAX:
        return value
    return None


def _countable(usage: dict[str, Any]) -> dict[str, Any]:
    """Refuse token counts that make the real server answer 500 for the whole project (measured on 0.5.0)."""
    total = 0
    for key in ("prompt_tokens", "completion_tokens"):
        if (value := usage.get(key)) is None:
            continue
        if (count := token_count(value)) is None:
            raise PydanticCustomError(
                "token_count", "{key} should be an integer between -2147483648 and 2147483647", {"key": key}
            )
        total += count
    if not -INT4_MAX - 1 <= total <= INT4_MAX:
        raise PydanticCustomError(
            "token_sum", "prompt_tokens and completion_tokens together should not exceed 2147483647"
        )
    return usage


Moment = Annotated[datetime, AfterValidator(_in_utc_range)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Text255 = Annotated[str, Field(max_length=255)]
TokenUsage = Annotated[dict[str, Any], AfterValidator(_countable)]
Numbers = dict[str, Annotated[float, Field(allow_inf_nan=False)]]
"""Finite numbers by name."""


class RequestBody(BaseModel):
    """Base of request bodies. Unknown keys are ignored, as on the server."""

    def sent(self) -> dict[str, Any]:
        """Return the fields that the request named, including null ones."""
        return {name: getattr(self, name) for name in self.model_fields_set}
