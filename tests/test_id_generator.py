"""Trace and span ids, which neither a seed nor a fork repeats."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from pandaprobe_otel.id_generator import SystemIdGenerator
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python, run_quietly

OWN_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
early = trace.get_tracer("made before init")
early.start_span("draws an id").end()
"""
SEEDED = """
import random
import pandaprobe_otel
pandaprobe_otel.init(instrument=False)
random.seed(42)
expected = random.random()
random.seed(42)
@pandaprobe_otel.agent
def answer(question):
    return question
answer("kettle?")
print(pandaprobe_otel.flush(60), random.random() == expected)
"""


@pytest.mark.parametrize("before", ["", OWN_PROVIDER], ids=["provider of init", "provider of the app"])
def test_a_seeded_script_makes_a_trace_of_its_own_in_each_run(before: str) -> None:
    """`random.seed(42)` repeats no trace id, and drawing ids does not change the app's own random numbers."""
    with StrictPandaProbe() as server:
        for _ in range(2):
            assert run_quietly(before + SEEDED, environment(server.url), set_up=False) == "True True\n"

        assert len({post.body["trace_id"] for post in server.posts()}) == 2


def test_tracers_that_were_made_before_draw_from_the_system_too() -> None:
    """Tracers made before `init()`, such as those of imported modules, draw their ids from the system as well."""
    code = (
        OWN_PROVIDER
        + """
import random
import pandaprobe_otel
pandaprobe_otel.init(instrument=False)
ids = set()
for _ in range(2):
    random.seed(0)
    with early.start_as_current_span("outer") as span:
        ids |= {span.get_span_context().trace_id, span.get_span_context().span_id}
print(len(ids))
"""
    )
    with StrictPandaProbe() as server:
        assert run_python(code, environment(server.url), set_up=False).stdout == "4\n"


def test_a_generator_that_the_app_has_chosen_stays() -> None:
    """`init()` keeps an id generator that the app has chosen, such as AWS X-Ray's."""
    code = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    import pandaprobe_otel
    class Chosen(RandomIdGenerator):
        def generate_trace_id(self):
            return 7
    trace.set_tracer_provider(TracerProvider(id_generator=Chosen()))
    pandaprobe_otel.init(instrument=False)
    print(trace.get_tracer("app").start_span("one").get_span_context().trace_id)
    """
    with StrictPandaProbe() as server:
        assert run_python(code, environment(server.url), set_up=False).stdout == "7\n"


@pytest.mark.parametrize("draw", ["generate_trace_id", "generate_span_id"])
def test_ids_fill_their_bits_and_are_never_zero(draw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids use all their bits, since samplers read the lowest 56, and are never zero, which OpenTelemetry forbids."""
    generator = SystemIdGenerator()
    generate: Callable[[], int] = getattr(generator, draw)
    bits = 128 if draw == "generate_trace_id" else 64
    seen_high = seen_low = 0
    for _ in range(200):
        value = generate()
        seen_high |= value >> (bits - 1)
        seen_low |= value & 1
        assert 0 < value < 1 << bits
    assert (seen_high, seen_low) == (1, 1)

    draws = iter([bytes(bits // 8), b"\x00" * (bits // 8 - 1) + b"\x05"])
    monkeypatch.setattr("pandaprobe_otel.id_generator.urandom", lambda size: next(draws))
    assert generate() == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_draws_other_ids_than_its_parent() -> None:
    """The generator stores no drawn value that a fork could copy."""
    code = """
    import os
    from pandaprobe_otel.id_generator import SystemIdGenerator
    generator = SystemIdGenerator()
    generator.generate_trace_id()
    pid = os.fork()
    os.write(1, f"{generator.generate_trace_id()}\\n".encode())
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    """
    drawn = run_python(code, environment(), set_up=False).stdout.split()
    assert len(drawn) == len(set(drawn)) == 2


def test_opentelemetry_finds_it_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTEL_PYTHON_ID_GENERATOR=pandaprobe` works for a provider that OpenTelemetry's launcher makes."""
    code = """
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator
    _OTelSDKConfigurator().configure(auto_instrumentation_version="x")
    from opentelemetry import trace
    print(type(trace.get_tracer_provider().id_generator).__name__)
    """
    switches = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    env = environment(OTEL_PYTHON_ID_GENERATOR="pandaprobe", **switches)
    assert run_python(code, env, set_up=False).stdout == "SystemIdGenerator\n"


def test_opentelemetry_takes_it_for_its_random_id_generator() -> None:
    """The generator marks trace ids as random, which other samplers need, and leaves the app's `random` alone."""
    generator: IdGenerator = TracerProvider(id_generator=SystemIdGenerator(), shutdown_on_exit=False).id_generator
    assert isinstance(generator, RandomIdGenerator)
    assert getattr(generator, "is_trace_id_random", lambda: True)()
    before = random.getstate()
    generator.generate_span_id()
    assert random.getstate() == before
