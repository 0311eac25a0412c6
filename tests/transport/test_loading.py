"""Loading of httpx: in `init()` or never, and not in a background thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import clean_environment

_PROGRAM = """
import sys, pandaprobe_otel
pandaprobe_otel.init(api_key="sk_pp_4f9a1c7be2d84c55a0b3e6d1f7c29a80", project_name="p", instrument=False)
print("httpx" in sys.modules)
"""


@pytest.mark.parametrize(("proxy", "is_loaded"), [("http://127.0.0.1:9", True), ("", False)])
def test_a_proxy_has_httpx_loaded_by_init(proxy: str, is_loaded: bool, tmp_path: Path) -> None:
    """With a proxy, `init()` loads httpx: if a thread loaded it later, OpenAI's client might find it half loaded."""
    environment = {**clean_environment(tmp_path), "HTTPS_PROXY": proxy, "HTTP_PROXY": "", "ALL_PROXY": ""}
    environment = {name: value for name, value in environment.items() if name not in ("https_proxy", "all_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == str(is_loaded)
