"""Addresses of traces' pages: `trace_url()`, and the line at the end of a run."""

from __future__ import annotations

import io
import sys

import pytest

import pandaprobe_otel
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.reporting.trace_links import TracePages
from strict_pandaprobe import StrictPandaProbe
from subprocesses import SET_UP, environment
from terminal import Terminal

NAMED = "https://pages.example/t/{trace_id}"


def test_a_run_ends_with_the_address_of_its_newest_trace() -> None:
    """In a terminal, one line; it is the address that `trace_url()` gave inside of the trace."""
    program = f"""{SET_UP}
one("first")
with tracer.start_as_current_span("second", attributes=CHAT):
    print("inside:", pandaprobe_otel.trace_url())
assert pandaprobe_otel.trace_url() is None
"""
    with StrictPandaProbe() as server:
        variables = environment(server.url, PANDAPROBE_TRACE_URL=NAMED)
        with Terminal(sys.executable, "-c", program, environment=variables) as terminal:
            inside = terminal.wait_for(r"inside: (\S+)")[1]
            told = terminal.wait_for(r"PandaProbe: 2 traces, the newest is at (\S+)")[1]
        ids = {post.body["trace_id"] for post in server.posts()}

    assert inside == told
    assert inside.removeprefix("https://pages.example/t/") in ids


def test_before_init_there_is_no_address() -> None:
    """Nothing is sent, so nothing can be looked at."""
    assert pandaprobe_otel.trace_url("0af76519-16cd-43dd-8448-eb211c80319c") is None


def test_a_server_that_names_no_pages_is_asked_again_only_after_a_while() -> None:
    """A PandaProbe of another kind on this machine says nothing of pages: no address is better than a wrong one."""
    now = 0.0
    with StrictPandaProbe() as server:
        pages = TracePages(server.url, named=None, monotonic=lambda: now)
        found = [pages.page("1"), pages.page("1")]
        now = 31.0
        found.append(pages.page("1"))
        asked = [(request.method, request.path) for request in server.requests()]

    assert found == [None] * 3
    assert asked == [("GET", "/health")] * 2


def test_a_named_address_asks_nobody() -> None:
    """Nothing is known of the hosted addresses; PANDAPROBE_TRACE_URL states them."""
    assert TracePages("http://127.0.0.1:9", named=NAMED).page("1") == "https://pages.example/t/1"


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.mark.parametrize(
    ("delivered", "ended", "screen", "said"),
    [
        (1, 1, Screen(), "PandaProbe: 1 trace at https://pages.example/t/b\n"),
        (1, 2, Screen(), ""),  # a span waits
        (0, 0, Screen(), ""),  # the trace was dropped
        (1, 1, io.StringIO(), ""),  # not a terminal
    ],
)
def test_a_trace_that_was_not_delivered_has_no_line(delivered: int, ended: int, screen: io.StringIO, said: str) -> None:
    """The address would lead nowhere; and what is read by a program stays as it was."""
    ledger = Ledger()
    ledger.ended(ended)
    ledger.delivered(delivered, traces=delivered)
    pages = TracePages(None, named=NAMED)
    pages.note([OutgoingRequest(step=Step.CREATE, trace_id="b"), OutgoingRequest(step=Step.APPEND, trace_id="a")])

    pages.tell_end(ledger.read(), screen)

    assert screen.getvalue() == said
