"""How every test process begins, a worker of pytest-xdist included."""

from __future__ import annotations

import signal

import pytest

# A shell without job control ignores SIGINT in its background jobs, and a program keeps ignored what its parent does.
# What the tests start is to end by Ctrl-C wherever they run; a handler, unlike "ignored", is not handed down.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Have hypothesis try the same examples in each run; `--hypothesis-profile=default` has it look for new ones."""
    if config.pluginmanager.hasplugin("hypothesispytest") and not config.getoption("--hypothesis-profile"):
        from hypothesis import settings

        settings.register_profile("the same", derandomize=True, database=None, deadline=None)
        settings.load_profile("the same")
