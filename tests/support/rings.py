"""The two rings of the tests: the inner ring has samples for everybody, and the outer ring has everything."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import Phase

IN_FULL: Final = (pytest.mark.outer, pytest.mark.exhaustive, pytest.mark.timeout(3600))
"""Marks of a test that tries every case, while the inner ring tries some of them."""
UNSHRUNK: Final = (Phase.explicit, Phase.generate)
"""Phases of property tests whose examples take long: they fail at once, without a search for a smaller example."""
