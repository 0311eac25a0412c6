"""The exact type of a value, for code that must not be fooled by a subclass or by a proxy's `__class__`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

type_of: Final = cast("Callable[[Any], type[Any]]", type)
"""`type` with one argument, under a signature that the type checkers can use on values of unknown type."""
