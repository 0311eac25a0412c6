"""Refused tool calls: a code, the reason, and the next step."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

from pandaprobe_otel.compact.overview import NoPart, StaleCursor
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
from pandaprobe_otel.local.search.searchable_fields import FIELDS, SearchError
from pandaprobe_otel.mcp_server.searching import NotFiltered

Code = Literal[
    "not_found", "bad_query", "bad_part", "bad_arguments", "stale_cursor", "rate_limited", "refused", "upstream"
]


class Refused(Exception):
    """A refused call: its code, the reason, and the next step.

    `recorded` is what a traced program may have written, such as names of its spans: it is shown in a fence.
    """

    def __init__(self, code: Code, why: str, step: str = "", *, recorded: str = "") -> None:
        super().__init__(why)
        self.code = code
        self.step = step
        self.recorded = recorded


@contextmanager
def told() -> Generator[None]:
    """Turn errors of the library into Refused."""
    try:
        yield
    except SearchError as error:
        fields = ", ".join(field.example for field in FIELDS.values())
        where = f"{error} (at character {error.position + 1})"
        raise Refused("bad_query", where, f"use these fields: {fields}, error, running, scored") from None
    except NotFiltered as error:
        raise Refused("bad_query", str(error), "search with these alone, and look at the traces") from None
    except StaleCursor as error:
        raise Refused("stale_cursor", str(error), "ask again without the cursor") from None
    except NoPart as error:
        raise Refused("bad_part", str(error), "use a handle from get_trace's answer") from None
    except PandaProbeError as error:
        raise _of_library(error) from None


def _of_library(error: PandaProbeError) -> Refused:
    match error:
        case NotFound():
            return Refused("not_found", str(error), "use find_traces to list the existing traces")
        case RateLimited():
            wait = "" if error.retry_after is None else f" in {error.retry_after:.0f} s"
            return Refused("rate_limited", str(error), f"ask again{wait}")
        case QuotaExceeded():
            return Refused("refused", str(error), "tell the person: the plan's quota is used up")
        case InvalidRequest() if any(one.field == "query" for one in error.errors):
            return Refused("bad_query", str(error), "mend the query")
        case InvalidRequest():
            return Refused("bad_arguments", str(error), "mend the arguments")
        case AuthError() | ConfigError() | PermissionDenied():
            return Refused("refused", str(error), "tell the person; doctor names the setting")
        case _:
            return Refused("upstream", str(error), "ask again later; doctor checks whether PandaProbe answers")
