"""The public methods of a client and of all its resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_SKIPPED = ("_", "with_", "parent_ref", "sdk_configuration")


def methods_of(
    owner: Any, is_resource: Callable[[Any], bool], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the dotted name and the bound method, depth first, in alphabetical order."""
    for name in sorted(set(dir(owner))):
        if name.startswith(_SKIPPED):
            continue
        try:
            found = getattr(owner, name)
        except Exception:  # noqa: BLE001 - a property that needs settings which this client lacks
            continue
        if is_resource(found):
            if len(path) < 6 and found is not owner:
                yield from methods_of(found, is_resource, (*path, name))
        elif callable(found) and not isinstance(found, type):
            yield ".".join((*path, name)), found
