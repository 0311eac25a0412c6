"""docs/client.md covers everything that a client has; tests/docs runs its examples."""

from __future__ import annotations

import re
from pathlib import Path

from pandaprobe_otel.api import Client

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")


def test_every_part_of_the_client_is_documented() -> None:
    """The table of docs/client.md has every part of the client."""
    with Client("sk_pp_test", "p", "http://127.0.0.1:1") as client:
        parts = [name for name in vars(client) if not name.startswith("_") and name != "credentials"]

    table = TEXT.partition("## Evaluating")[0]
    assert [name for name in parts if not re.search(rf"`(client\.)?{name}`", table)] == []
