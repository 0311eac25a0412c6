"""Functions of the user that the command line names as MODULE:FUNCTION."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import click


def load_function(name: str) -> Callable[..., Any]:
    """Return a function or another callable. Raises UsageError if it does not exist."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # As `python -m` does: the module is usually in the working directory.
    module, _, attribute = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise click.UsageError(f"{name} cannot be loaded ({error}): pass MODULE:FUNCTION") from error
    if not callable(found):
        raise click.UsageError(f"{name} is not a function: pass MODULE:FUNCTION")
    return cast("Callable[..., Any]", found)
