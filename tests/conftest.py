"""How every test process begins, a worker of pytest-xdist included."""

from __future__ import annotations

import signal

# A shell without job control ignores SIGINT in its background jobs, and a program keeps ignored what its parent does.
# What the tests start is to end by Ctrl-C wherever they run; a handler, unlike "ignored", is not handed down.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
