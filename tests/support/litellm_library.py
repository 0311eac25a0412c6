"""litellm, imported without asking the network for prices."""

from __future__ import annotations

import os
from typing import Any, Final
from unittest.mock import patch

with patch.dict(os.environ, LITELLM_LOCAL_MODEL_COST_MAP="True"):
    import litellm as _litellm

litellm: Final[Any] = _litellm
"""The module."""
