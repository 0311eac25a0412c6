"""Functions of the settings that make spans themselves."""

from __future__ import annotations

import pytest

from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python


@pytest.mark.parametrize("flushes", [True, False], ids=["flush", "exit"])
def test_a_function_that_makes_spans_does_not_feed_itself(flushes: bool) -> None:
    """The app's traces arrive, the function's own spans are counted and left out, and one line says so."""
    code = f"""
    from pandaprobe_otel import agent, init, tool
    @tool
    def made(value): return value
    for callback in (
        {{"mask": lambda text: made(text)}},
        {{"spans": lambda span: made(True)}},
        {{"api_key": lambda: made("sk_pp_1")}},
    ):
        handle = init(instrument=False, **callback)
        for number in range(3):
            with agent(f"a{{number}}", input="Ada"):
                pass
            {"handle.flush()" if flushes else ""}
        handle.shutdown()
        status = handle.status()
        left_out = dict(status.spans_dropped)
        dropped = left_out.pop("made_by_callback")
        print(status.spans_ended - dropped, status.spans_delivered, left_out, 0 < dropped < 100)
    """
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url), set_up=False)
        assert result.stdout == "3 3 {} True\n" * 3, result.stderr[-2000:]
        assert sorted(trace.fields["name"] for trace in server.traces.values()) == sorted(["a0", "a1", "a2"] * 3)
    assert result.stderr.count("makes spans itself") == 1
