"""litellm, imported without its request for prices."""

from __future__ import annotations

import os
from typing import Any, Final
from unittest.mock import patch

import pytest

with patch.dict(os.environ, LITELLM_LOCAL_MODEL_COST_MAP="True"):
    litellm: Final[Any] = pytest.importorskip("litellm", exc_type=ImportError)
    """The module litellm, which cannot be imported together with the oldest openai."""
