"""The two rings of the tests: samples in the inner one, which everybody runs, everything in the outer one."""

from __future__ import annotations

from typing import Final

import pytest

IN_FULL: Final = (pytest.mark.outer, pytest.mark.exhaustive, pytest.mark.timeout(3600))
"""Marks of a test that tries every case, of which the inner ring tries some."""
