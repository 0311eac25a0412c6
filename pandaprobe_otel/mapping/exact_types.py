"""Exact type of a value, for code that neither a subclass nor a proxy's `__class__` may deceive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

type_of: Final = cast("Callable[[Any], type[Any]]", type)
"""`type` with one argument, with a signature that type checkers accept for values of unknown type."""
