"""Base of all arguments."""

from __future__ import annotations

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic accepts the standard one only from Python 3.12 on

from pandaprobe_otel.api.fields import Limit, Offset


@with_config(ConfigDict(extra="forbid"))
class Arguments(TypedDict, total=False):
    """Arguments by name. Unknown names are refused: the server would ignore a misspelt filter and return everything."""


class Paging(Arguments, total=False):
    """The page of a list to return."""

    limit: Limit
    offset: Offset
