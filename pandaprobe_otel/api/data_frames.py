"""Tables for notebooks. pandas is not a dependency: it is loaded when a table is requested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def frame(rows: Sequence[dict[str, Any]], *, index: str | None = None) -> pandas.DataFrame:
    """Return rows as a table.

    Raises:
        ModuleNotFoundError: pandas is not installed; the message has the command to install it.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise ModuleNotFoundError(
            'pandas is not installed. Install it with: pip install "pandaprobe-otel[pandas]"', name="pandas"
        ) from None
    table = pandas.DataFrame(list(rows))
    return table if index is None or not rows else table.set_index(index)
