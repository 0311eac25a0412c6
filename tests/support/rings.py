"""The two rings of the tests: the inner one, for everybody, has samples; the outer one has everything."""

from __future__ import annotations

from typing import Final

import pytest

IN_FULL: Final = (pytest.mark.outer, pytest.mark.exhaustive, pytest.mark.timeout(3600))
"""Marks of a test that tries every case, of which the inner ring tries some."""
