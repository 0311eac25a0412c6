"""One wrapped attribute of a library, and the way back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pandaprobe_otel.errors import RecordingError


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """An attribute that was wrapped."""

    owner: Any
    name: str
    original: Any
    wrapper: Any

    def undo(self) -> None:
        """Put the original back; if someone has wrapped ours in the meantime, it stays inside and passes through."""
        if _own(self.owner).get(self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)


def patch(owner: Any, name: str, around: Callable[..., Any]) -> Patch:
    """Wrap `owner.name`: `around` is called with the original and the arguments.

    Raises RecordingError when it is not there, as in a version of the library that is built differently.
    """
    original: Any = _own(owner).get(name)
    if original is None:
        library = owner.__module__.partition(".")[0] if isinstance(owner, type) else owner.__name__
        raise RecordingError(
            f"This version of {library} cannot be recorded: it has no {getattr(owner, '__name__', owner)}.{name}. "
            "Tell the authors of pandaprobe-otel which version it is."
        )

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)
    return Patch(owner, name, original, wrapper)


def _own(owner: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", vars(owner))
