"""A real browser for tests of pages: the system's Chromium, driven by Playwright, without network access."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Root, who runs tests in containers, cannot set up Chromium's sandbox. The other options stop Chromium's own requests.
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """Return the path of a Chromium; PANDAPROBE_TEST_CHROMIUM comes first."""
    named = os.environ.get("PANDAPROBE_TEST_CHROMIUM")
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def chromium() -> Generator[Browser]:
    """Yield a running browser. If the machine has none, skip the test, or fail it if CI is set."""
    path = find_chromium()
    if path is None:
        reason = f"no Chromium on this machine (looked for {', '.join(_NAMES)})"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(f"{reason}; in CI the pages must be tested")
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()
