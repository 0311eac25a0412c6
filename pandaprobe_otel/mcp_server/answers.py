"""Answers of tools: text with recorded content in a fence, numbers beside it; errors with a code and the next step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent

from pandaprobe_otel.compact.fences import inert
from pandaprobe_otel.compact.parts import NoPart, StaleCursor
from pandaprobe_otel.errors import (
    AuthError,
    ConfigError,
    InvalidRequest,
    NotFound,
    PandaProbeError,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
)
from pandaprobe_otel.local.search.fields import FIELDS, SearchError
from pandaprobe_otel.mcp_server.searching import StaleSearch

Code = Literal[
    "not_found", "bad_query", "bad_part", "bad_arguments", "stale_cursor", "rate_limited", "refused", "upstream"
]
_MOST: Final = 600
"""Characters of an error's text."""


class Refused(Exception):
    """A call that is not carried out: its code, why, and the next step."""

    def __init__(self, code: Code, why: str, step: str = "") -> None:
        super().__init__(why)
        self.code = code
        self.step = step


def answer(text: str, numbers: Mapping[str, Any], *, links: Sequence[ResourceLink] = ()) -> CallToolResult:
    """Return text for the model; `numbers` hold nothing that a traced program has written."""
    content: list[ContentBlock] = [TextContent(type="text", text=text), *links]
    return CallToolResult(content=content, structured_content=dict(numbers))


def refusal(error: Refused) -> CallToolResult:
    """Return an error as a model reads it, and as a program does."""
    why = inert(str(error))[:_MOST]
    text = f"{error.code}: {why}" + (f"\nNext: {error.step}" if error.step else "")
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content={"code": error.code, "next": error.step},
        is_error=True,
    )


@contextmanager
def told() -> Iterator[None]:
    """Turn errors of the library into Refused."""
    try:
        yield
    except SearchError as error:
        fields = ", ".join(field.example for field in FIELDS.values())
        where = f"{error} (at character {error.position + 1})"
        raise Refused("bad_query", where, f"write it with these: {fields}, error, running, scored") from None
    except (StaleCursor, StaleSearch) as error:
        raise Refused("stale_cursor", str(error), "ask again without the cursor") from None
    except NoPart as error:
        raise Refused("bad_part", str(error), "use a handle of get_trace's answer") from None
    except PandaProbeError as error:
        raise _of_library(error) from None


def _of_library(error: PandaProbeError) -> Refused:
    match error:
        case NotFound():
            return Refused("not_found", str(error), "find_traces lists the traces that there are")
        case RateLimited():
            wait = "" if error.retry_after is None else f" in {error.retry_after:.0f} s"
            return Refused("rate_limited", str(error), f"ask again{wait}")
        case QuotaExceeded():
            return Refused("refused", str(error), "tell the person: the plan's quota is used up")
        case InvalidRequest() if any(one.field == "q" for one in error.errors):
            return Refused("bad_query", str(error), "mend the query")
        case InvalidRequest():
            return Refused("bad_arguments", str(error), "mend the arguments")
        case AuthError() | ConfigError() | PermissionDenied():
            return Refused("refused", str(error), "tell the person; doctor says which setting it is")
        case _:
            return Refused("upstream", str(error), "ask again later; doctor tells whether PandaProbe answers")
