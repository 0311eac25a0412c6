"""Every endpoint that the API client describes."""

from __future__ import annotations

import dataclasses
import pkgutil
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from pandaprobe_otel.api import resources
from pandaprobe_otel.api.endpoint import Endpoint


def all_endpoints() -> Iterator[Endpoint[Any]]:
    """Yield the endpoints of all resources, including those that are fields of dataclasses."""
    for found in pkgutil.iter_modules(resources.__path__, f"{resources.__name__}."):
        for value in vars(import_module(found.name)).values():
            if isinstance(value, Endpoint):
                yield value
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                parts = (getattr(value, field.name) for field in dataclasses.fields(value))
                yield from (part for part in parts if isinstance(part, Endpoint))


def not_asked(requests: Iterable[tuple[str, str]]) -> Iterator[Endpoint[Any]]:
    """Yield the endpoints to which none of these requests (method and path) went."""
    asked = set(requests)
    fixed = {endpoint.path for endpoint in all_endpoints() if not endpoint.parameters}
    for endpoint in all_endpoints():
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", endpoint.path))
        if not any(
            method == endpoint.method and pattern.fullmatch(path) and (path == endpoint.path or path not in fixed)
            for method, path in asked
        ):
            yield endpoint
