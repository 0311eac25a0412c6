"""litellm, imported when a test first uses it, since the import takes seconds and every worker loads every file."""

from __future__ import annotations

from typing import Any, Final

import pytest


class _Litellm:
    """The module litellm, which cannot be imported together with the oldest openai; the test is skipped then."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks at every object of a module
            raise AttributeError(name)
        return getattr(pytest.importorskip("litellm", exc_type=ImportError), name)


litellm: Final[Any] = _Litellm()
