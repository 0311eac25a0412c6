"""URLs of trace pages: `trace_url()`, and the line at the end of a program."""

from __future__ import annotations

import io
import sys

import pytest

import pandaprobe_otel
from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
from pandaprobe_otel.reporting.trace_links import TracePages, page_of, trace_template
from spans import CHAT, provider_with
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import SET_UP, environment
from terminal import Terminal

NAMED = "https://pages.example/t/{trace_id}"


def test_a_run_ends_with_the_address_of_its_newest_trace() -> None:
    """In a terminal, the program ends with one line: the URL that `trace_url()` returned inside the trace."""
    program = f"""{SET_UP}
one("first")
pandaprobe_otel.flush()
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
    """No trace is sent before `init()`, so `trace_url()` returns None."""
    assert pandaprobe_otel.trace_url("0af76519-16cd-43dd-8448-eb211c80319c") is None


def test_a_server_without_pages_is_looked_up_again_after_a_while() -> None:
    """A server that names no pages yields no URL, and is asked again only after 30 seconds."""
    now = 0.0
    with StrictPandaProbe() as server:
        pages = TracePages(server.url, named=None, monotonic=lambda: now)
        found = [pages.page("1"), pages.page("1")]
        now = 31.0
        found.append(pages.page("1"))
        asked = [(request.method, request.path) for request in server.requests()]

    assert found == [None] * 3
    assert asked == [("GET", "/health")] * 2


def test_pages_are_those_of_a_local_server_or_are_named() -> None:
    """Traces link to a local server's pages or to a named address; remote servers and unsafe addresses have none."""
    named = "https://example.com/t/{trace_id}"
    with LocalServer() as server:
        assert trace_template(server.url, named=None) == f"{server.url}/ui/traces/{{trace_id}}"
        assert page_of("1", trace_template(server.url, named=named)) == "https://example.com/t/1"
    for url in (None, "http://127.0.0.1:9", "https://api.example.com", "http://u:p@127.0.0.1:9"):
        assert trace_template(url, named=None) is None
    assert page_of("1", "javascript:alert({trace_id})") is None


class Screen(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.mark.parametrize(
    ("screen", "line"), [(Screen(), "PandaProbe: 1 trace at https://pages.example/t/b\n"), (io.StringIO(), "")]
)
def test_only_a_terminal_gets_the_address(screen: io.StringIO, line: str) -> None:
    """No line is printed if the output is not a terminal."""
    TracePages(None, named=NAMED).report_end("b", 1, screen)

    assert screen.getvalue() == line


@pytest.mark.parametrize("status", [202, 422])
def test_a_trace_that_was_not_delivered_has_no_line(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line follows a delivered trace, and not one that the server refused."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("PANDAPROBE_TRACE_URL", NAMED)
    with StrictPandaProbe() as server:
        if status != 202:
            server.script.append(Reply(status=status, body={"detail": "no"}))
        processor = PandaProbeSpanProcessor(api_key="k", endpoint=server.url)
        with provider_with(processor) as tracer, tracer.start_as_current_span("root", attributes=CHAT):
            pass
        assert isinstance(processor.pipeline, ExportPipeline)
        processor.pipeline.report_end()

    assert ("1 trace at" in screen.getvalue()) is (status == 202)
