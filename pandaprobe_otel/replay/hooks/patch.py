"""A wrapped attribute of a library, which can be restored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pandaprobe_otel.errors import RecordingError


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A wrapped attribute."""

    owner: Any
    name: str
    original: Any
    wrapper: Any

    def undo(self) -> None:
        """Restore the original. If another wrapper was added meanwhile, ours stays inside it and forwards calls."""
        if _own(self.owner).get(self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)


def patch(owner: Any, name: str, around: Callable[..., Any]) -> Patch:
    """Wrap `owner.name`. `around` is called with the original and the arguments.

    Raises RecordingError if the attribute is missing, as in unsupported versions of the library.
    """
    original: Any = _own(owner).get(name)
    if original is None:
        library = owner.__module__.partition(".")[0] if isinstance(owner, type) else owner.__name__
        raise RecordingError(
            f"This version of {library} cannot be recorded: it has no {getattr(owner, '__name__', owner)}.{name}. "
            "Report the version to the authors of pandaprobe-otel."
        )

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)
    return Patch(owner, name, original, wrapper)


def _own(owner: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", vars(owner))
