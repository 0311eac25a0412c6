"""Phases of property tests whose examples take long: they fail at once, without a search for a smaller example."""

from __future__ import annotations

from typing import Final

from hypothesis import Phase

UNSHRUNK: Final = (Phase.explicit, Phase.generate)
