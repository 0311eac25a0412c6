"""Every endpoint that the API client describes."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pandaprobe_otel import api
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.operation import Resource, request


def all_endpoints() -> Iterator[Endpoint[Any]]:
    """Yield the endpoints of all modules: constants, and those of the methods of a client's parts."""
    for found in pkgutil.iter_modules(api.__path__, f"{api.__name__}."):
        for value in [*vars(import_module(found.name)).values()]:
            if isinstance(value, Endpoint):
                yield value
            elif inspect.isclass(value) and issubclass(value, Resource):
                methods = (inspect.getattr_static(value, name) for name in dir(value))
                routes = (method.endpoint for method in methods if isinstance(method, request))
                yield from (each.of(value.kind) for each in routes if value.kind or "{kind}" not in each.path)
