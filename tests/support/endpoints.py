"""Every endpoint that the API client describes."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pandaprobe_otel import api
from pandaprobe_otel.api.endpoint import Endpoint


def all_endpoints() -> Iterator[Endpoint[Any]]:
    """Yield the endpoints of all modules, including those that are fields of dataclasses."""
    for found in pkgutil.iter_modules(api.__path__, f"{api.__name__}."):
        for value in vars(import_module(found.name)).values():
            if isinstance(value, Endpoint):
                yield value
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                parts = (getattr(value, field.name) for field in dataclasses.fields(value))
                yield from (part for part in parts if isinstance(part, Endpoint))
